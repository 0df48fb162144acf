"""Beacon: one WhatsApp account, kept connected, with a durable queue and nothing hidden."""

__version__ = "0.1.0"

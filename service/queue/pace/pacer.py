"""Decides for every message whether it may go out now."""

from service.queue.pace.contract import Pacer, Unpaced

__all__ = ["Pacer", "Unpaced"]

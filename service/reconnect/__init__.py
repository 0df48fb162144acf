"""Keeps the account connected: what happened, what is done about it, and what it says."""

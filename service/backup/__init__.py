"""Keeps copies of the session, so that it outlives the machine."""

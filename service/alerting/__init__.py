"""Alerts of a monitoring system become messages: what they say, to whom, and when it was said already."""

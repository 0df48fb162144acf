"""Registry, tracing, logging; no component logic."""

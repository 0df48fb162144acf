"""The child process that owns neonize, and the parent side that talks to it."""

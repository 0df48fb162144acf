"""How much memory there is, and how much of it the engine may take before it is replaced.

The engine keeps maps that only grow (whatsmeow's retry counters) and is the part of the service that a
long life makes larger. Replacing it costs a second; running into the container's limit costs everything.
"""

from pathlib import Path
from typing import Final

from service.clock import Clock

CGROUP: Final = Path("/sys/fs/cgroup")
LIMIT_FILES: Final = ("memory.max", "memory/memory.limit_in_bytes")
"""Version 2 and version 1, as a container sees its own."""

SHARE: Final = 0.6
"""Of a container: the rest is for the service itself and for what the kernel counts beside."""

UNLIMITED: Final = 2**62
"""Version 1 says "no limit" with a number near the largest that there is."""

REST_S: Final = 600.0
"""A new engine that is over the limit again is not the old one's fault: it is left alone for a while."""


def container_limit(cgroup: Path = CGROUP) -> int | None:
    """This container's memory, in bytes; None outside of one, and without a limit."""
    for name in LIMIT_FILES:
        try:
            limit = int((cgroup / name).read_text())
        except (OSError, ValueError):  # the other version, no container, or the word "max"
            continue
        if limit < UNLIMITED:
            return limit
    return None


def engine_share(limit_bytes: int | None) -> int | None:
    """The engine's part of the memory that it and the service may take together."""
    return None if limit_bytes is None else int(limit_bytes * SHARE)


class MemoryGuard:
    """Says when an engine has become too large, at most once in ten minutes."""

    def __init__(self, limit_bytes: int | None, *, clock: Clock) -> None:
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._rests_until: float | None = None

    def exceeded(self, resident_bytes: int) -> bool:
        """Is the engine of that size to be replaced now."""
        if self._limit_bytes is None or resident_bytes <= self._limit_bytes:
            return False
        now = self._clock.monotonic()
        if self._rests_until is not None and now < self._rests_until:
            return False
        self._rests_until = now + REST_S
        return True

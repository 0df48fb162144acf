"""Time as something that is handed in, so that tests can move it."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Final, Protocol

_AWAKE_OR_NOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS counts it in the latter


def rfc3339(seconds: float) -> str:
    """Unix seconds as people and programs read them: `2026-11-21T18:34:00.000Z`."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def is_instant(seconds: float) -> bool:
    """Whether these are Unix seconds between 1970 and 9999, which can be read as a date."""
    return 0.0 <= seconds < 253_402_300_800.0


def rfc3339_or_none(seconds: float | None) -> str | None:
    """The same for a time that may not have come."""
    return None if seconds is None else rfc3339(seconds)


class Clock(Protocol):
    """What a component may ask of time. All values are seconds."""

    def now(self) -> float:
        """Seconds since the Unix epoch; may jump when the machine's clock is set."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds of monotonic time."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class OutsideClock(SystemClock):
    """As the system's, and `monotonic` counts the time in which the machine was suspended.

    For what others measure too, such as a lease: they do not sleep along. `sleep` does not count it.
    """

    def monotonic(self) -> float:
        return time.clock_gettime(_AWAKE_OR_NOT)

"""Time as something that is handed in, so that tests can move it."""

import asyncio
import time
from typing import Final, Protocol

_AWAKE_OR_NOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS counts it in the latter


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

"""Waiting that can be cut short."""

import asyncio

from service.clock import Clock


class Alarm:
    """Something to wait for, with a limit by an injected clock. For one waiter."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """End the wait that is under way, or the next one."""
        self._rung.set()

    async def wait(self, seconds: float | None) -> None:
        """Return once it has rung, or after that many seconds; None waits without limit."""
        if not self._rung.is_set():
            if seconds is None:
                await self._rung.wait()
            else:
                await self._wait(seconds)
        self._rung.clear()

    async def _wait(self, seconds: float) -> None:
        sleeping = asyncio.create_task(self._clock.sleep(seconds))
        sleeping.add_done_callback(self._slept)
        try:
            await self._rung.wait()
        finally:
            sleeping.cancel()

    def _slept(self, sleeping: asyncio.Task[None]) -> None:
        if not sleeping.cancelled():
            self._rung.set()

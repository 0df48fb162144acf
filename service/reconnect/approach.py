"""The way to the next login: wait, ask the probe, and say when a login may be made."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

from service.clock import Clock
from service.reconnect.metrics import ReconnectMetrics

PROBE_EVERY_S: Final = (2.0, 5.0)


class Approach:
    """One wait at a time.

    A login is due when the wait is over and the probe reaches WhatsApp. `early`: it is due before, when
    a probe succeeds after one that failed in the same wait: the network is back. An engine that dies on
    a healthy network waits its full time.
    """

    def __init__(
        self,
        *,
        probe: Callable[[], Awaitable[bool]],
        clock: Clock,
        rng: Random,
        metrics: ReconnectMetrics,
    ) -> None:
        self._probe = probe
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._task: asyncio.Task[None] | None = None

    def begin(
        self,
        tasks: asyncio.TaskGroup,
        wait_s: float,
        *,
        early: bool,
        due: Callable[[], None],
        unreachable: Callable[[float], None],
    ) -> None:
        """Wait that long, then call `due` once. Each failed probe calls `unreachable` with the seconds
        until a login is possible again at the earliest."""
        self.cancel()
        work = self._run(wait_s, early=early, due=due, unreachable=unreachable)
        self._task = tasks.create_task(work, name="approach")

    def cancel(self) -> None:
        """There will be no login."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(
        self, wait_s: float, *, early: bool, due: Callable[[], None], unreachable: Callable[[float], None]
    ) -> None:
        over_at = self._clock.monotonic() + wait_s
        failed = False
        pause = self._pause(wait_s, early=early) if wait_s > 0 else 0.0
        while True:
            await self._clock.sleep(pause)
            reached = await self._probe()
            self._metrics.probed(reached=reached)
            remaining = over_at - self._clock.monotonic()
            if reached and (remaining <= 0 or failed):
                due()
                return
            failed = failed or not reached
            pause = self._pause(remaining, early=early)
            if not reached:
                unreachable(max(pause, remaining))

    def _pause(self, remaining: float, *, early: bool) -> float:
        if remaining > 0 and not early:
            return remaining
        between = self._rng.uniform(*PROBE_EVERY_S)
        return min(between, remaining) if remaining > 0 else between

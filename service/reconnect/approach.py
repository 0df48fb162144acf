"""The way to the next login: wait, ask the probe, and say when a login may be made."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

from service.clock import Clock
from service.reconnect.metrics import ReconnectMetrics

PROBE_EVERY_S: Final = (2.0, 5.0)
"""A network that answers, or one that has been away for long."""

PROBE_SOON_S: Final = (0.5, 1.0)
"""After a probe that failed: a message that waits is on its way within 3 s of the network's return, and
a login takes up to two of them. While the way is cut, such a probe costs a packet or none."""

SOON_FOR_S: Final = 600.0
"""Nobody waits for the second after an outage of ten minutes and more."""


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
        failed_since: float | None = None
        pause = self._pause(wait_s, early=early) if wait_s > 0 else 0.0
        while True:
            await self._clock.sleep(pause)
            reached = await self._probe()
            self._metrics.probed(reached=reached)
            now = self._clock.monotonic()
            remaining = over_at - now
            if reached and (remaining <= 0 or failed_since is not None):
                due()
                return
            if not reached and failed_since is None:
                failed_since = now
            soon = failed_since is not None and now < failed_since + SOON_FOR_S
            pause = self._pause(remaining, early=early, soon=soon)
            if not reached:
                unreachable(max(pause, remaining))

    def _pause(self, remaining: float, *, early: bool, soon: bool = False) -> float:
        if remaining > 0 and not early:
            return remaining
        between = self._rng.uniform(*(PROBE_SOON_S if soon else PROBE_EVERY_S))
        return min(between, remaining) if remaining > 0 else between

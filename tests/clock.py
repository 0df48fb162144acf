"""A clock that stands still until a test moves it."""

import asyncio
import heapq
from itertools import count


class FakeClock:
    """A `service.clock.Clock` whose time passes only in `advance`."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._monotonic = 0.0
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), woken))
        await woken

    def advance(self, seconds: float) -> None:
        """Let that much time pass and wake, earliest first, everyone whose sleep ends within it.

        Who is woken runs when the test next awaits; a loop that sleeps again counts from the end of
        the step, so move in steps of its period to see every turn.
        """
        self._now += seconds
        self._monotonic += seconds
        while self._sleepers and self._sleepers[0][0] <= self._monotonic:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward (or back) without any time passing."""
        self._now += seconds

    @property
    def sleeps(self) -> list[float]:
        """Seconds that remain of every sleep under way, shortest first: what a test waits for before it
        moves the clock."""
        return sorted(at - self._monotonic for at, _, woken in self._sleepers if not woken.done())

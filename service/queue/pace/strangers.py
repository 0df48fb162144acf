"""How many people who never wrote to us are written to for the first time in any 24 hours, and how soon
after each other. Times are Unix seconds, because the count outlives the process.
"""

from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Final

from service.config import DAY_S, Seconds

RESOLUTION_S: Final = 300.0
"""How exactly the times of earlier meetings are read from the store: rounded up, so that none counts for
less than a day."""

SKEW_S: Final = 3600.0
"""Meetings noted by a clock that is ahead of ours by less than this count as of now; further ahead, the clock
was wrong and has been set back."""


class Strangers:
    """Who was met within the last 24 hours, and when the next one may be."""

    def __init__(self, *, per_day: int, gap: Seconds, rng: Random) -> None:
        self._per_day = per_day
        self._gap = gap
        self._rng = rng
        self._met: list[tuple[float, str | None]] = []  # earliest first; None: before this process
        self._next_at = 0.0

    def load(self, times: Sequence[float], *, now: float) -> None:
        """When somebody was met within the last day, as the store tells it; in place of what was known."""
        self._met = [(at, None) for at in sorted(times)]
        self._pause(self._met[-1][0] if self._met else now - self._gap.most)

    def met(self, chat: str, *, now: float) -> bool:
        """Whether this chat is counted already."""
        self._forget(now)
        return any(chat == one for _, one in self._met)

    def left(self, *, now: float) -> int:
        """How many may still be met now."""
        self._forget(now)
        return max(0, self._per_day - len(self._met))

    def room_at(self, *, now: float) -> float:
        """When the budget has room; now, or the time at which a meeting is a day ago."""
        if self.left(now=now):
            return now
        return self._met[-self._per_day][0] + DAY_S if self._per_day else now + DAY_S

    def pause_ends_at(self, *, now: float) -> float:
        """When the pause after the last meeting ends, if that is to come."""
        return min(self._next_at, now + self._gap.most)

    def meet(self, chat: str, *, now: float) -> None:
        """The first message to this chat goes out."""
        self._forget(now)
        self._met.append((now, chat))
        self._pause(now)

    def heard(self, chat: str) -> None:
        """Who answers is no stranger."""
        self._met = [one for one in self._met if one[1] != chat]

    def _pause(self, since: float) -> None:
        self._next_at = since + self._rng.uniform(self._gap.least, self._gap.most)

    def _forget(self, now: float) -> None:
        if self._met and self._met[-1][0] > now:  # the machine's clock was set back
            self._met = [(min(at, now), chat) for at, chat in self._met]
        over = now - DAY_S
        while self._met and self._met[0][0] <= over:
            del self._met[0]


async def meetings(since: Callable[[float], Awaitable[int]], *, now: float) -> list[float]:
    """The times of the last day's meetings, found by asking how many there were `since` a time: each within
    RESOLUTION_S, rounded up, never after now."""

    async def between(start: float, end: float, count: int, after: int) -> list[float]:
        if count == 0:
            return []
        if end - start <= RESOLUTION_S:
            return [end] * count
        middle = (start + end) / 2
        later = await since(middle) - after
        return await between(start, middle, count - later, after + later) + await between(
            middle, end, later, after
        )

    start, end = now - DAY_S, now + SKEW_S
    future = await since(end)
    times = await between(start, end, await since(start) - future, future)
    return [min(at, now) for at in times]

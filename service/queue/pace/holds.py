"""When the rate held the whole account: what waited meanwhile waited as it was wanted."""

from collections import deque
from typing import Final

APART_S: Final = 1.0
"""Between two messages that go out one after the other as the rate lets them, it is held all along."""

KEPT: Final = 1000


class Holds:
    """Intervals of Unix time, in the order in which they were noted; the oldest are forgotten."""

    def __init__(self) -> None:
        self._held: deque[tuple[float, float]] = deque(maxlen=KEPT)

    def note(self, start: float, end: float) -> None:
        """The account is held from now, `start`, to `end`."""
        if self._held and self._held[-1][0] <= start <= self._held[-1][1] + APART_S:
            start, before = self._held.pop()
            end = max(end, before)
        self._held.append((start, end))

    def within_s(self, since: float, until: float) -> float:
        """Seconds of that time in which the account was held."""
        held_s = 0.0
        for start, end in reversed(self._held):
            if end <= since:
                break
            held_s += max(0.0, min(end, until) - max(start, since))
        return held_s

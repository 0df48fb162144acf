"""What stands still after WhatsApp refused, and for how long: a table."""

from dataclasses import dataclass
from random import Random
from typing import Final

from service.config import DAY_S
from service.queue.model import Cooldown, Cooling

MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a kind of cool-down goes on. `rules` are the outcome rules that begin it; `lasts_s` how long it
    lasts the first time, the second time in a row, and so on, up to `spread` of it longer; the row is
    forgotten `forgotten_after_s` after the end of the last."""

    cooling: Cooling
    rules: frozenset[str]
    lasts_s: tuple[float, ...]
    spread: float
    forgotten_after_s: float

    def next(self, before: Cooldown | None, *, now: float, rng: Random) -> Cooldown | None:
        """The cool-down that begins now; None while one goes on: messages that were on their way when
        it began are refused for the same cause."""
        if before is not None and now < before.until:
            return None
        in_a_row = before is not None and now < before.until + self.forgotten_after_s
        times = before.times + 1 if before is not None and in_a_row else 1
        lasts_s = self.lasts_s[min(times, len(self.lasts_s)) - 1]
        return Cooldown(until=now + lasts_s * rng.uniform(1.0, 1.0 + self.spread), times=times)


COURSES: Final = (
    Course(
        cooling=Cooling.STRANGERS,
        rules=frozenset({"reachout_timelocked"}),
        lasts_s=(DAY_S, 7 * DAY_S),
        spread=0.1,
        forgotten_after_s=28 * DAY_S,
    ),
    Course(
        cooling=Cooling.UNASKED,
        rules=frozenset({"rate_limited", "lookup_rate_limited", "upload_rate_limited"}),
        lasts_s=tuple(minutes * MINUTE for minutes in (5, 10, 20, 40, 60)),
        spread=0.2,
        forgotten_after_s=DAY_S,
    ),
)

REPLY_WITHIN_S: Final = DAY_S
"""A message is a reply when its chat wrote to us no longer ago than this."""


def course_of(rule: str) -> Course | None:
    """What an outcome rule of this name begins."""
    return next((course for course in COURSES if rule in course.rules), None)

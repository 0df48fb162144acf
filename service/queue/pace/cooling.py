"""The cool-downs under way: begun by refusals, remembered by the store, told to the log and the metrics."""

from collections.abc import Mapping
from random import Random

import structlog

from service.queue.model import Cooldown, Cooling
from service.queue.pace.cooldowns import course_of
from service.queue.pace.metrics import PaceMetrics

log = structlog.get_logger(__name__)


class CoolDowns:
    """Until when what stands still."""

    def __init__(self, *, rng: Random, metrics: PaceMetrics) -> None:
        self._rng = rng
        self._metrics = metrics
        self._cooldowns: dict[Cooling, Cooldown] = {}
        self._going_on: set[Cooling] = set()

    def load(self, cooldowns: Mapping[Cooling, Cooldown], *, now: float) -> None:
        """Those that the store remembers, in place of what was known."""
        self._cooldowns = dict(cooldowns)
        self._metrics.cooldowns(self._cooldowns)
        for cooling, cooldown in self._cooldowns.items():
            if now < cooldown.until and cooling not in self._going_on:
                self._going_on.add(cooling)
                log.warning(
                    "pace.cooldown_goes_on", cooling=cooling.value, until=cooldown.until, times=cooldown.times
                )

    def until(self, cooling: Cooling, *, now: float) -> float | None:
        """When it ends, Unix seconds; None when it does not go on."""
        cooldown = self._cooldowns.get(cooling)
        if cooldown is not None and now < cooldown.until:
            return cooldown.until
        if cooling in self._going_on:
            self._going_on.discard(cooling)
            log.info("pace.cooldown_ended", cooling=cooling.value)
        return None

    def refused(self, rule: str, *, now: float) -> tuple[Cooling, Cooldown] | None:
        """The cool-down that this refusal begins, if it does."""
        course = course_of(rule)
        if course is None:
            return None
        cooling = course.cooling
        cooldown = course.next(self._cooldowns.get(cooling), now=now, rng=self._rng)
        if cooldown is None:
            return None
        self._cooldowns[cooling] = cooldown
        self._going_on.add(cooling)
        self._metrics.cooldowns(self._cooldowns)
        self._metrics.cooldown_begun(cooling)
        log.warning(
            "pace.cooldown_begun",
            cooling=cooling.value,
            rule=rule,
            until=cooldown.until,
            times=cooldown.times,
        )
        return cooling, cooldown

"""The hours of every day in which nothing is sent."""

from datetime import datetime, timedelta, tzinfo
from typing import Final

from service.config import Hours

SHORTEST_S: Final = 1.0
"""At the end of summer time an hour comes twice, and the end of the quiet hours with it."""

STEP_S: Final = 60.0
"""How closely the beginning of past quiet hours is looked for."""


def quiet_for_s(hours: Hours, *, zone: tzinfo, now: float) -> float:
    """Seconds until the quiet hours end; 0 outside of them. `now` is Unix time."""
    local = datetime.fromtimestamp(now, zone)
    clock = local.time()
    over_midnight = hours.end < hours.start
    quiet = clock >= hours.start or clock < hours.end if over_midnight else hours.start <= clock < hours.end
    if not quiet:
        return 0.0
    day = local.date() + timedelta(days=int(over_midnight and clock >= hours.start))
    return max(SHORTEST_S, datetime.combine(day, hours.end, tzinfo=zone).timestamp() - now)


def quiet_within_s(hours: Hours, *, zone: tzinfo, since: float, until: float) -> float:
    """Seconds of that time, Unix time both, which were quiet hours; to the minute."""
    held_s, at = 0.0, since
    while at < until:
        quiet_s = quiet_for_s(hours, zone=zone, now=at)
        step_s = min(quiet_s or STEP_S, until - at)
        held_s += step_s if quiet_s else 0.0
        at += step_s
    return held_s

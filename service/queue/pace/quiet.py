"""The hours of every day in which nothing is sent."""

from datetime import datetime, timedelta, tzinfo
from typing import Final

from service.config import Hours

SHORTEST_S: Final = 1.0
"""At the end of summer time an hour comes twice, and the end of the quiet hours with it."""


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

"""Which backups stay: the latest, and after that one a day for a while.

A day is one of UTC. The latest backup always stays, however old it is, and so does the latest one that was
fetched and checked: what was only written is not yet known to be good.
"""

from collections.abc import Sequence
from typing import Final

from service.backup.model import Kept

LATEST: Final = 24
DAYS: Final = 14
DAY_S: Final = 86_400.0


def superfluous(listed: Sequence[Kept], *, now: float) -> list[int]:
    """Sequences of those that may be forgotten. `listed` is the latest first, `now` in Unix seconds."""
    verified = [kept.sequence for kept in listed if kept.verified_at is not None]
    stays = {kept.sequence for kept in listed[:LATEST]} | set(verified[:1])
    days: set[int] = set()
    for kept in listed[LATEST:]:
        day = int(kept.taken_at // DAY_S)
        if kept.taken_at > now - DAYS * DAY_S and day not in days:
            days.add(day)
            stays.add(kept.sequence)
    return [kept.sequence for kept in listed if kept.sequence not in stays]

"""When the backups are worth a warning: the rules of the check `backup:age`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from service.backup.report import BackupStatus

INTERVALS: Final = 3
"""After how many BACKUP_INTERVALs without a backup the newest counts as old."""

UNVERIFIED_S: Final = 86_400.0
"""How long the newest good check may be ago; one is made every 6 hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the rules look at. Times are Unix seconds."""

    status: BackupStatus
    connected: bool
    interval_s: float
    started_at: float
    now: float

    @property
    def age_s(self) -> float | None:
        """Of the newest backup; of this process when there should be one; None when nothing is expected:
        this process does not own the account, or there is no session yet."""
        if self.status.epoch is None or not (self.connected or self.status.last_success_at):
            return None
        return self.now - (self.status.last_success_at or self.started_at)


def warning(seen: Seen) -> str | None:
    """Why somebody should look at the backups, the gravest reason; None when nobody need."""
    if not seen.status.enabled:
        return None
    return next(filter(None, (rule(seen) for rule in _RULES)), None)


def _unprotected(seen: Seen) -> str | None:
    if not seen.status.unprotected:
        return None
    return "Connected while the place of the backups does not answer: none are made."


def _old(seen: Seen) -> str | None:
    if seen.age_s is None or seen.age_s <= INTERVALS * seen.interval_s:
        return None
    why = "." if seen.status.trouble is None else f": {seen.status.trouble}"
    if seen.status.last_success_at is None:
        return f"No backup has been made yet{why}"
    return f"The newest backup is {seen.age_s / 60:.0f} minutes old{why}"


def _not_good(seen: Seen) -> str | None:
    trouble = seen.status.verify_trouble
    if trouble is None or seen.status.epoch is None:
        return None
    return f"The last check of a backup failed: {trouble}"


def _unverified(seen: Seen) -> str | None:
    if seen.age_s is None or seen.status.last_success_at is None:
        return None
    if seen.now - (seen.status.last_verified_at or seen.started_at) <= UNVERIFIED_S:
        return None
    return "No backup has been fetched and checked for more than a day."


_RULES: Final[tuple[Callable[[Seen], str | None], ...]] = (
    _unprotected,
    _old,
    _not_good,
    _unverified,
)

"""When a backup is due: soon after a change, not too often, and every so often whatever happens.

No I/O and no clock: it is told what is seen, and asked.
"""

from dataclasses import dataclass
from typing import Final

from service.backup.model import Cause

QUIET_S: Final = 10.0
"""A change is backed up when this long no other followed."""

GAP_S: Final = 30.0
"""Two backups of changes are at least that far apart, and a change waits no longer."""

SHARE: Final = 20.0
"""A gap is also at least so many times as long as the backup took: a large session is not copied all day."""

RETRY_S: Final = 30.0
"""After a failure; twice as long after each further one, up to the interval."""

Signature = tuple[tuple[int, int], ...]
"""Size and time of change of each of the session's files; which table was changed how often."""


@dataclass
class Schedule:
    """Instants are those of one monotonic clock, in seconds."""

    interval_s: float
    began_at: float
    _seen: Signature | None = None
    _first_change_at: float | None = None
    _last_change_at: float = 0.0
    _ended_at: float | None = None
    _gap_s: float = GAP_S
    _failures: int = 0
    _paired: bool = False

    def sees(self, signature: Signature, *, now: float) -> None:
        """The session's files look like this. The first look is a change: since the last process, perhaps."""
        if signature != self._seen:
            self._seen, self._last_change_at = signature, now
            if self._first_change_at is None:
                self._first_change_at = now

    def paired(self) -> None:
        """A phone was linked."""
        self._paired = True

    def due(self, *, now: float) -> Cause | None:
        """Why a backup is to be made now; None when none is."""
        if self._failures:
            return self._again(now)
        if self._paired:
            return Cause.PAIRED
        if self._changed(now):
            return Cause.CHANGED
        since = self.began_at if self._ended_at is None else self._ended_at
        return Cause.INTERVAL if now - since >= self.interval_s else None

    def ended(self, *, success: bool, worth_repeating: bool, took_s: float, now: float) -> None:
        """A backup was made or not, by whomever it was asked for."""
        self._ended_at, self._gap_s = now, max(GAP_S, SHARE * took_s)
        if success or not worth_repeating:
            self._failures = 0
            self._first_change_at, self._paired = None, False
        else:
            self._failures += 1

    def _again(self, now: float) -> Cause | None:
        assert self._ended_at is not None
        wait_s = min(self.interval_s, RETRY_S * 2.0 ** min(self._failures - 1, 16))
        if now - self._ended_at < wait_s:
            return None
        if self._paired:
            return Cause.PAIRED
        return Cause.INTERVAL if self._first_change_at is None else Cause.CHANGED

    def _changed(self, now: float) -> bool:
        first = self._first_change_at
        if first is None or (self._ended_at is not None and now - self._ended_at < self._gap_s):
            return False
        return now - self._last_change_at >= QUIET_S or now - first >= self._gap_s

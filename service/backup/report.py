"""What is answered to those who ask for a backup, a check or a restore, and what is seen at a glance."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from service.backup.model import Cause, RestoreKind
from service.backup.progress import Progress


class Outcome(StrEnum):
    """How a backup ended (metric label)."""

    KEPT = "kept"
    UNCHANGED = "unchanged"  # what is kept already is the same, to the byte
    REFUSED = "refused"  # the session is not fit to stand in for the last good copy
    UNREACHABLE = "unreachable"  # the vault cannot be used now
    FULL = "full"  # the vault has no room
    FENCED = "fenced"  # another process owns the account by now
    NOT_OWNER = "not_owner"  # this process does not own the account, or has no epoch yet
    FAILED = "failed"  # the copy could not be made; the log says why

    @property
    def success(self) -> bool:
        """The session as it is now is in the vault."""
        return self in {Outcome.KEPT, Outcome.UNCHANGED}


class Finding(StrEnum):
    """How a check of a kept backup ended (metric label)."""

    VERIFIED = "verified"
    UNREADABLE = "unreadable"
    KEY_MISSING = "key_missing"
    UNREACHABLE = "unreachable"
    FAILED = "failed"  # this machine's own disk, for example


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a backup. `sequence` is that of the backup that now holds the session, if one does;
    `stored_bytes` is what it cost, `size_bytes` the session itself; `sentence` is for people."""

    cause: Cause
    outcome: Outcome
    sentence: str
    took_s: float
    sequence: int | None = None
    size_bytes: int = 0
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A backup was fetched, unsealed and checked as a restore would. `at` and `taken_at` in Unix seconds."""

    sequence: int
    taken_at: float
    at: float
    size_bytes: int
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A session was brought back. `sessions_dropped`: how many peers it is begun anew with."""

    sequence: int
    taken_at: float
    kind: RestoreKind
    sessions_dropped: int
    size_bytes: int
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """Backups that were forgotten, and the bytes that this freed."""

    forgotten: tuple[int, ...]
    freed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """The newest backup is sealed with the first key. `others`: how many older ones still need which key;
    such a key must stay in BACKUP_KEYS until they are forgotten."""

    sequence: int
    key_id: str
    changed: bool
    others: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupStatus:
    """The backups at a glance. Times are Unix seconds, None for never. `place` says where they are kept.

    `epoch` is None while this process may not write backups. `unprotected` says that it is connected and has
    no epoch, because the vault did not answer. `progress` is how far what is being done now is, None when
    nothing is. `kept` is how many there are, None while that is not known.
    `trouble` is a sentence on why the last backup failed.
    """

    enabled: bool
    place: str
    local_key: bool
    epoch: int | None = None
    unprotected: bool = False
    progress: Progress | None = None
    kept: int | None = None
    last_success_at: float | None = None
    last_sequence: int | None = None
    last_outcome: Outcome | None = None
    trouble: str | None = None
    last_verified_at: float | None = None
    verify_trouble: str | None = None
    restored_at: float | None = None
    restore: Restored | None = None
    undecryptable: int = 0

"""What a backup is made of, and what is told of it.

An *epoch* is one process's time as owner of the account: it grows by one each time that a process takes
over, and the vault refuses what an earlier owner still writes. A backup is *clean* when the engine had ended
before it was taken. A clean backup of the epoch before ours is exactly where the session stopped; any other
is older than what WhatsApp and the peers have seen since, by an unknown number of messages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """Why a backup was made (metric label)."""

    PAIRED = "paired"
    CHANGED = "changed"
    INTERVAL = "interval"
    STOP = "stop"
    ASKED = "asked"


class Refusal(StrEnum):
    """Why a session is not fit to stand in for the last good copy (metric label)."""

    NO_DEVICE = "no_device"  # empty or logged out
    FOREIGN_DEVICE = "foreign_device"  # another number than the one backed up
    MANY_DEVICES = "many_devices"
    DAMAGED = "damaged"  # quick_check or foreign_key_check
    COLLAPSED = "collapsed"  # keys that were there are gone
    UNKNOWN_SCHEMA = "unknown_schema"


class RestoreKind(StrEnum):
    """How a session came back (metric label)."""

    EXACT = "exact"  # clean and of the epoch before ours: as it is
    RATCHETS_DROPPED = "ratchets_dropped"  # sessions with peers are begun anew


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRef:
    """Some pages of the file, sealed together: their keyed content hash (hex) and their size as they are."""

    id: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The next pages of the file: `pages` of them, from page `first` of chunk `chunk` on."""

    chunk: int
    first: int
    pages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything about one backup but its bytes; sealed as the chunks are. Times are Unix seconds.

    `sequence` grows by one with each backup of the account. `device_jid` is the device's own JID, `identity`
    what `SessionFile.identity` said, `rows` how many rows each table had, `key_id` the key that sealed it.
    """

    account: str
    sequence: int
    epoch: int
    fence: int
    taken_at: float
    clean: bool
    identity: str
    device_jid: str
    schema_version: int
    rows: Mapping[str, int]
    size_bytes: int
    sha256: str
    key_id: str
    chunks: tuple[ChunkRef, ...]
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One backup as the vault lists it; nothing in it is secret."""

    sequence: int
    epoch: int
    taken_at: float
    clean: bool
    key_id: str
    size_bytes: int
    stored_bytes: int
    verified_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A backup ready to be kept: what is listed of it, the sealed manifest, and the ids of all its chunks."""

    kept: Kept
    manifest: bytes
    chunk_ids: tuple[str, ...]

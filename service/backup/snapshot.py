"""A consistent copy of the session while the engine writes, and what is known of it.

The copy is made with SQLite's backup interface in one step, not with VACUUM INTO: pages stay where they
were, so that a later copy differs only where something was written. A copy in several steps begins again at
each write and may never end. Everything here blocks: run it in a thread, of a process without neonize.
"""

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.backup.model import Refusal
from service.errors import BackupError, SnapshotRefused

LOCK_TIMEOUT_S: Final = 10.0
RATCHETS: Final = ("whatsmeow_sessions", "whatsmeow_sender_keys")
_NOT_ITS_FAULT: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a session database is; `rows` by name of the table."""

    device_jid: str
    schema_version: int
    size_bytes: int
    sha256: str
    rows: Mapping[str, int]


def take_snapshot(session: Path, target: Path) -> None:
    """Copy the session as it is at one moment into a new file (mode 0600, no side files).

    Writers go on meanwhile. Raises SnapshotRefused when there is none or it cannot be read, BackupError when
    the surroundings do not allow a copy; then nothing is left of it.
    """
    if not session.exists():
        raise SnapshotRefused(Refusal.NO_DEVICE, "there is no session")
    with sqlite_errors(target):
        target.touch(mode=0o600, exist_ok=False)
    try:
        with (
            sqlite_errors(session),
            open_to_read(session) as source,
            closing(sqlite3.connect(target, timeout=LOCK_TIMEOUT_S)) as copy,
        ):
            copy.execute("PRAGMA synchronous = OFF")
            source.backup(copy, pages=-1)
            copy.execute("PRAGMA journal_mode = DELETE")
    except BaseException:
        for suffix in ("", "-wal", "-shm", "-journal"):
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        raise


def drop_ratchets(path: Path) -> int:
    """Forget what each peer's next message is sealed with, so that no key is used twice: sessions and sender
    keys are begun anew with the next message. How many sessions that were. Durable; raises BackupError."""
    with sqlite_errors(path), closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)) as database, database:
        database.execute("PRAGMA synchronous = FULL")
        dropped = [database.execute(f"DELETE FROM {table}").rowcount for table in RATCHETS]  # noqa: S608
    return dropped[0]


@contextmanager
def open_to_read(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write."""
    address = f"{path.resolve().as_uri()}?mode=ro"
    with closing(
        sqlite3.connect(address, uri=True, timeout=LOCK_TIMEOUT_S, isolation_level=None)
    ) as database:
        yield database


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """What SQLite says becomes SnapshotRefused when the session is damaged, BackupError when it is not."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _NOT_ITS_FAULT:
            raise BackupError(f"{path}: the session cannot be copied now: {error}") from error
        raise SnapshotRefused(Refusal.DAMAGED, f"the session is damaged: {error}") from error
    except sqlite3.Error as error:
        raise BackupError(f"{path}: {error}") from error
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror}") from error


def digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

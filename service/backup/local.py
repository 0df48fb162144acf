"""The session on this disk: what there is of it, and what is known of where it comes from."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

import msgspec

from service.backup.archive import put_in_place
from service.backup.snapshot import open_to_read, sqlite_errors
from service.backup.wal import behind
from service.errors import BackupError, SnapshotRefused

KEPT_ASIDE: Final = 3


class Found(StrEnum):
    """What a look at the session's file found."""

    NOTHING = "nothing"  # no file, or one that whatsmeow has never opened
    DEVICE = "device"  # linked to a phone
    LOGGED_OUT = "logged_out"  # never paired or logged out: the tables are there, and no device
    DAMAGED = "damaged"  # SQLite cannot read it


class SessionOnDisk(Protocol):
    """What is needed of `service.engine.session.SessionFile`."""

    @property
    def path(self) -> Path: ...

    @property
    def cleared(self) -> bool: ...

    def identity(self) -> str: ...

    def renew_identity(self) -> None: ...

    def take_identity(self, identity: str) -> None: ...

    def prepare(self) -> None: ...

    def replaced_by_another(self) -> None: ...


class Lineage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose turn the session on this disk was last part of.

    `identity` names the session; of another one this says nothing. `epoch` is the last that was entered
    with it (0: none), `fence` that of the database's lease under which it was last used (0: a lease of this
    machine alone). `adopted`: it was paired here and is backed up even if the backups are another number's.
    `clean_at` is when a clean backup of it was made, as long as nothing has connected since.
    """

    identity: str
    epoch: int
    fence: int
    adopted: bool = False
    clean_at: float | None = None


class Local:
    """The session's file, and a note beside it (`session.epoch`). All of it blocks and may raise OSError."""

    def __init__(self, session: SessionOnDisk) -> None:
        self._session = session
        self._path = session.path
        self._note = session.path.with_suffix(".epoch")

    @property
    def path(self) -> Path:
        """Of the session."""
        return self._path

    def behind(self) -> bool:
        """Whether the session lost transactions that were committed; it is no longer the one that is named
        so, and gets another identity. To be asked before anything opens it. Raises BackupError."""
        try:
            found = behind(self._path)
            if found:
                self._session.renew_identity()
        except OSError as error:
            raise BackupError(f"{self._path}: {error.strerror}") from error
        return found

    def look(self) -> Found:
        """What there is. Raises BackupError when that cannot be found out now."""
        if not self._path.exists():
            return Found.NOTHING
        try:
            with sqlite_errors(self._path), open_to_read(self._path) as database:
                return _found(database)
        except SnapshotRefused:
            return Found.DAMAGED

    def lineage(self) -> Lineage | None:
        """What is known of the session that is here; None: nothing. Raises DataDirUnusable."""
        noted = self._noted()
        return noted if noted is not None and noted.identity == self._session.identity() else None

    def note(self, *, epoch: int, fence: int, adopted: bool = False, clean_at: float | None = None) -> None:
        """Write down, durably, what is known now of the session that is here. Raises DataDirUnusable."""
        identity = self._session.identity()
        self._write(Lineage(identity=identity, epoch=epoch, fence=fence, adopted=adopted, clean_at=clean_at))

    def adopt(self) -> None:
        """A phone was linked here: whatever its number, the session is this account's, and our turn goes on.
        Raises DataDirUnusable."""
        if (noted := self._noted()) is not None:
            self.note(epoch=noted.epoch, fence=noted.fence, adopted=True)

    def set_aside(self, label: str, *, now: float) -> None:
        """Move the session out of the way, side files too; of such files the latest three stay."""
        aside = self._path.with_name(f"{self._path.name}.{label}-{int(now)}")
        for suffix in ("-wal", ""):  # the database last: without it nothing was set aside
            source = self._path.with_name(self._path.name + suffix)
            with suppress(FileNotFoundError):
                source.chmod(0o600)
                source.replace(aside.with_name(aside.name + suffix))
        for suffix in ("-shm", "-journal"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        for older in sorted(self._aside(), key=lambda path: path.stat().st_mtime, reverse=True)[KEPT_ASIDE:]:
            for suffix in ("-wal", ""):
                older.with_name(older.name + suffix).unlink(missing_ok=True)

    def put_back(self, restored: Path, *, identity: str | None) -> None:
        """Put a restored session in the place of what is there. With `identity` it is the very session that
        had this one, without it an earlier state. Raises DataDirUnusable."""
        if identity is None:
            self._session.renew_identity()
        put_in_place(restored, self._path)
        if identity is not None:
            self._session.take_identity(identity)
        self._session.prepare()

    def _noted(self) -> Lineage | None:
        try:
            return msgspec.json.decode(self._note.read_bytes(), type=Lineage)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def _aside(self) -> Iterator[Path]:
        for path in self._path.parent.glob(f"{self._path.name}.*-*"):
            if not path.name.endswith("-wal"):
                yield path

    def _write(self, lineage: Lineage) -> None:
        fresh = self._note.with_suffix(".epoch.new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(lineage))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._note)


def _found(database: sqlite3.Connection) -> Found:
    if [row[0] for row in database.execute("PRAGMA quick_check(1)")] != ["ok"]:
        return Found.DAMAGED
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'whatsmeow_device'").fetchone() is None:
        return Found.NOTHING
    if database.execute("SELECT 1 FROM whatsmeow_device").fetchone() is None:
        return Found.LOGGED_OUT
    return Found.DEVICE

"""The session database that whatsmeow keeps, as far as the parent may touch it.

Two copies of SQLite in one process break each other's locks (anchors.md 0.1), so nothing here may run
where neonize is loaded; from another process, reading is safe.
"""

import asyncio
import re
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from service.engine.notebook import Notebook
from service.errors import DataDirUnusable, StoreError, StoreUnavailable

LOCK_TIMEOUT_S: Final = 10.0
_SIDE_FILES: Final = ("-wal", "-shm", "-journal")
_IDENTITY: Final = re.compile(rb"[0-9a-f]{16}")
_NOT_IN_PATH: Final = frozenset("?#%")  # neonize puts the path into a URI as it is


class SessionFile:
    """One account's session database (whatsmeow's sqlstore, schema 15)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity = path.with_suffix(".id")
        self._cleared = path.with_suffix(".cleared")

    def identity(self) -> str:
        """Names this database as long as nothing of it is undone: what was sent while it was named
        otherwise cannot be found here. A name that is damaged gives way to a new one. Raises
        DataDirUnusable."""
        try:
            if not self.path.exists():
                self._identity.unlink(missing_ok=True)
            if not self._identity.exists() or not _IDENTITY.fullmatch(self._identity.read_bytes()):
                self.renew_identity()
            return self._identity.read_text(encoding="ascii")
        except OSError as error:
            raise DataDirUnusable(f"{self._identity}: cannot be kept: {error.strerror}") from error

    def renew_identity(self) -> None:
        """To be called when the database is put back to an earlier state, before it is."""
        self.take_identity(secrets.token_hex(8))

    def take_identity(self, identity: str) -> None:
        """To be called when the very database that was named so has been brought here."""
        fresh = self._identity.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(identity, encoding="ascii")
        fresh.replace(self._identity)

    @property
    def cleared(self) -> bool:
        """The operator removed a session here, and no other has been backed up since: what backups there are
        must not come back by themselves."""
        return self._cleared.exists()

    def replaced_by_another(self) -> None:
        """The session that is here now is backed up; what was cleared before is of the past."""
        self._cleared.unlink(missing_ok=True)

    def prepare(self) -> None:
        """Create the file (mode 0600) if it is missing and put it in WAL mode, which lasts and doubles
        whatsmeow's rate of sending. Only while no engine runs. Raises DataDirUnusable."""
        if wrong := sorted(set(str(self.path)) & _NOT_IN_PATH):
            raise DataDirUnusable(f"{self.path}: the path must not contain {' '.join(wrong)}")
        try:
            if not self.path.exists():
                self._identity.unlink(missing_ok=True)
            self.path.touch(mode=0o600)
            self.path.chmod(0o600)
            with closing(sqlite3.connect(self.path, timeout=LOCK_TIMEOUT_S)) as database:
                (mode,) = database.execute("PRAGMA journal_mode = WAL").fetchone()
        except (OSError, sqlite3.Error) as error:
            raise DataDirUnusable(f"{self.path}: cannot be used as session database: {error}") from error
        if mode != "wal":
            raise DataDirUnusable(f"{self.path}: its file system does not allow WAL mode (it stays {mode})")

    async def device_jid(self) -> str | None:
        """The JID of the paired device, None when there is none. Raises StoreError."""
        return await asyncio.to_thread(self._value, "SELECT jid FROM whatsmeow_device LIMIT 1", ())

    async def find_message_id(self, secret: bytes) -> str | None:
        """The WhatsApp id of the message sent with this secret; None: it was never begun. Raises StoreError.

        whatsmeow writes the row before anything leaves (send.go), so a row says that it may have been sent.
        """
        query = "SELECT message_id FROM whatsmeow_message_secrets WHERE key = ? LIMIT 1"
        return await asyncio.to_thread(self._value, query, (secret,))

    async def forget_device(self) -> None:
        """Delete the device, as whatsmeow does after a logout, and with it all but contacts' ids and tokens.

        Only while no engine runs. whatsmeow tells of the logout before it deletes (connectionevents.go),
        so an engine that ends in between leaves a device that WhatsApp does not know. Raises StoreError.
        """
        await asyncio.to_thread(self._forget_device)

    def remove(self) -> None:
        """Delete the database, its side files and the engine's notes. Only while no engine runs."""
        self._cleared.touch(mode=0o600)  # first, so that half a removal is not undone by a restore
        self._identity.unlink(missing_ok=True)
        Notebook(self.path).clear()
        for suffix in ("", *_SIDE_FILES):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def _forget_device(self) -> None:
        try:
            with closing(sqlite3.connect(self.path, timeout=LOCK_TIMEOUT_S)) as database, database:
                database.execute("PRAGMA foreign_keys = ON")
                if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'whatsmeow_device'").fetchone():
                    database.execute("DELETE FROM whatsmeow_device")
        except sqlite3.OperationalError as error:
            raise StoreUnavailable(f"{self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{self.path}: {error}") from error

    def _value(self, query: str, parameters: tuple[object, ...]) -> str | None:
        if not self.path.exists():
            return None
        address = f"{self.path.resolve().as_uri()}?mode=ro"
        try:
            with closing(sqlite3.connect(address, uri=True, timeout=LOCK_TIMEOUT_S)) as database:
                row = database.execute(query, parameters).fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):  # whatsmeow has not opened it yet
                return None
            raise StoreUnavailable(f"{self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{self.path}: {error}") from error
        return None if row is None else str(row[0])

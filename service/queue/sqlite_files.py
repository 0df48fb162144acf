"""Kept files inside one SQLite transaction: bytes by their SHA-256, gone when nothing names them any more."""

import sqlite3
from collections.abc import Iterable
from typing import Final

KEPT_S: Final = 3600.0
"""How long a file is kept at least: that long a message may take to name it."""

BATCH: Final = 16
"""Most files that one transaction looks at, because one may be large."""

_NAME: Final = """
    INSERT INTO file (account, sha256, check_at) VALUES (?, ?, ?)
    ON CONFLICT DO UPDATE SET check_at = excluded.check_at"""
_KEPT: Final = "SELECT 1 FROM file WHERE account = ? AND sha256 = ?"
_KEEP: Final = "INSERT INTO file_bytes (account, sha256, bytes) VALUES (?, ?, ?)"
_BYTES: Final = "SELECT bytes FROM file_bytes WHERE account = ? AND sha256 = ?"
_CHECK: Final = "UPDATE file SET check_at = coalesce(check_at, 0) WHERE account = ? AND sha256 = ?"
_DUE: Final = f"""
    SELECT sha256, EXISTS (
        SELECT 1 FROM message WHERE message.account = file.account AND message.file = file.sha256)
    FROM file WHERE account = ? AND check_at <= ? LIMIT {BATCH}"""  # noqa: S608
_NAMED: Final = "UPDATE file SET check_at = NULL WHERE account = ? AND sha256 = ?"
_FORGET: Final = "DELETE FROM file WHERE account = ? AND sha256 = ?"
_FORGET_BYTES: Final = "DELETE FROM file_bytes WHERE account = ? AND sha256 = ?"


class Files:
    """The files of one account."""

    def __init__(self, connection: sqlite3.Connection, account: str) -> None:
        self._execute = connection.execute
        self._account = account

    def keep(self, sha256: str, data: bytes, *, now: float) -> None:
        """See QueueStore.keep_file."""
        kept = self.kept(sha256)
        self._execute(_NAME, (self._account, sha256, now + KEPT_S))
        if not kept:
            self._execute(_KEEP, (self._account, sha256, data))

    def kept(self, sha256: str) -> bool:
        """Whether the bytes are here."""
        return self._execute(_KEPT, (self._account, sha256)).fetchone() is not None

    def read(self, sha256: str) -> bytes | None:
        """See QueueStore.file."""
        row = self._execute(_BYTES, (self._account, sha256)).fetchone()
        return None if row is None else bytes(row[0])

    def unnamed(self, sha256s: Iterable[str]) -> None:
        """Messages that named these are gone; `prune` looks whether others do."""
        for sha256 in sha256s:
            self._execute(_CHECK, (self._account, sha256))

    def prune(self, *, now: float) -> int:
        """Forget what nothing names, at most `BATCH` looked at; how many were."""
        due = self._execute(_DUE, (self._account, now)).fetchall()
        for sha256, named in due:
            if named:
                self._execute(_NAMED, (self._account, sha256))
            else:
                self._execute(_FORGET, (self._account, sha256))
                self._execute(_FORGET_BYTES, (self._account, sha256))
        return len(due)

"""Connections to the queue's file: WAL, synchronous=FULL, mode 0600."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from service.errors import StoreUnavailable
from service.queue.migrations import migrate
from service.queue.sqlite_writer import translate

BUSY_TIMEOUT_S: Final = 5.0
"""How long to wait when somebody looks into the file with another program and holds a lock."""

WAL_PAGES: Final = 4000
"""Pages of 4 KiB in the WAL before a commit also checkpoints: fewer, longer pauses than the default 1000."""

WAL_BYTES: Final = 64 * 1024 * 1024
"""What the WAL is cut down to after a large file made it grow."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection that writes; the file is made if need be. Raises sqlite3.Error, OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    os.close(descriptor)
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    connection.execute("PRAGMA query_only = ON")
    return connection


def migrate_file(path: Path) -> list[int]:
    """Make the file if need be and bring its schema up to this program's; the numbers of what was applied.

    Raises StoreUnavailable, StoreTooNew.
    """
    try:
        with closing(connect(path)) as connection:
            return migrate(connection)
    except sqlite3.Error as error:
        raise translate(error) from error
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from error

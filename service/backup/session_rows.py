"""A session's rows, from PostgreSQL into a file of SQLite's and back; whatsmeow can use either.

Rows go in the order of their keys, by their bytes: the same session makes the same file.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import asyncpg

from service.backup.model import Refusal
from service.backup.session_tables import SCHEMA, TABLES, VERSION, Column, Table
from service.backup.snapshot import LOCK_TIMEOUT_S, open_to_read, sqlite_errors
from service.errors import BackupUnreadable, SnapshotRefused

ROWS_AT_ONCE: Final = 500
TABLE_DEADLINE_S: Final = 60.0

GONE: Final = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InvalidSchemaNameError)
TORN: Final = (asyncpg.DataCorruptedError, asyncpg.IndexCorruptedError)
"""What PostgreSQL says of a table that is not there, and of one that it cannot read."""

_MISFITS: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    sqlite3.DatabaseError,
    ValueError,  # these of asyncpg, before it asks the server
    TypeError,
    OverflowError,
)


async def copy_out(base: asyncpg.Connection, target: Path) -> None:
    """Write the session as one transaction sees it into a new file (mode 0600). Writers go on meanwhile.

    Raises SnapshotRefused, BackupError, and what asyncpg raises; whoever is in a hurry does not wait for the
    transaction's end, so the connection is then of no use any more.
    """
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, "session copy") as thread:  # one thread: what is cancelled ends before `close`
        database = await loop.run_in_executor(thread, _created, target)
        try:
            one_moment = base.transaction(isolation="repeatable_read", readonly=True)
            await one_moment.start()
            await _check_version(base)
            for table in TABLES:
                insert = _inserting(database, table, target)
                cursor = await base.cursor(_selection(table), timeout=TABLE_DEADLINE_S)
                while rows := await cursor.fetch(ROWS_AT_ONCE, timeout=TABLE_DEADLINE_S):
                    await loop.run_in_executor(thread, insert, [tuple(row) for row in rows])
            await one_moment.rollback()
            await loop.run_in_executor(thread, database.commit)
        except (*GONE, *TORN) as error:
            raise SnapshotRefused(
                Refusal.DAMAGED, f"the session is damaged: {type(error).__name__}"
            ) from None
        finally:
            await loop.run_in_executor(thread, database.close)


async def copy_in(source: Path, base: asyncpg.Connection) -> None:
    """Make a session's tables in the transaction that is under way, and fill them with what the file holds.

    Raises BackupUnreadable when that does not fit; then the transaction must not be committed.
    """
    await base.execute(f"DROP TABLE IF EXISTS {', '.join(table.name for table in TABLES)} CASCADE")
    await base.execute(SCHEMA)
    try:
        for table in TABLES:
            rows = await asyncio.to_thread(_rows, source, table)
            await base.copy_records_to_table(
                table.name, records=rows, columns=table.names, timeout=TABLE_DEADLINE_S
            )
    except _MISFITS as error:
        raise BackupUnreadable(
            f"the backup holds what the tables of version {VERSION} cannot: {type(error).__name__}"
        ) from None


async def _check_version(base: asyncpg.Connection) -> None:
    version = await base.fetchval("SELECT version FROM whatsmeow_version")
    if version is None:
        raise SnapshotRefused(Refusal.NO_DEVICE, "there is no session")
    if version != VERSION:
        raise SnapshotRefused(
            Refusal.UNKNOWN_SCHEMA, f"the session's version {version} is not known; it must be {VERSION}"
        )


def _selection(table: Table) -> str:
    columns = ", ".join(
        f'"{column.name}"::text' if column.type == "uuid" else f'"{column.name}"' for column in table.columns
    )
    texts = {column.name for column in table.columns if column.type == "text"}
    keys = [f'"{name}" COLLATE "C"' if name in texts else f'"{name}"' for name in table.key]
    order = f" ORDER BY {', '.join(keys)}" if keys else ""
    return f"SELECT {columns} FROM {table.name}{order}"  # noqa: S608


def _created(target: Path) -> sqlite3.Connection:
    with sqlite_errors(target):
        target.touch(mode=0o600, exist_ok=False)
        database = sqlite3.connect(target, timeout=LOCK_TIMEOUT_S, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("PRAGMA synchronous = OFF")
            database.executescript(SCHEMA)
        except BaseException:
            database.close()
            raise
    return database


def _inserting(
    database: sqlite3.Connection, table: Table, target: Path
) -> Callable[[Sequence[Sequence[object]]], None]:
    statement = (
        f"INSERT INTO {table.name} ({table.listed}) "  # noqa: S608
        f"VALUES ({', '.join('?' * len(table.columns))})"
    )

    def insert(rows: Sequence[Sequence[object]]) -> None:
        with sqlite_errors(target):
            database.executemany(statement, rows)

    return insert


def _rows(source: Path, table: Table) -> list[tuple[object, ...]]:
    with open_to_read(source) as database:
        found = database.execute(f"SELECT {table.listed} FROM {table.name}")  # noqa: S608
        return [
            tuple(_typed(value, column) for value, column in zip(row, table.columns, strict=True))
            for row in found
        ]


def _typed(value: object, column: Column) -> object:
    return bool(value) if column.type == "boolean" and value is not None else value

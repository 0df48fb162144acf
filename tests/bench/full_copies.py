"""A session's backups in PostgreSQL beside full copies there, as the old bot made them.

The old bot kept each of its session's entries as a row and wrote all of them anew each time, readable, in one
transaction. Both work on the same session, after the same traffic, on the same server, in turn.
"""

import asyncio
import random
import sqlite3
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec
from prometheus_client import CollectorRegistry

from service.backup.checks import check
from service.backup.keys import Key, Keys
from service.backup.metrics import BackupMetrics
from service.backup.scratch import Scratch
from service.backup.shelf import Shelf
from service.backup.snapshot import take_snapshot
from service.backup.vault_postgres import PostgresVault
from service.clock import SystemClock
from tests.unit.backup.sessions import DEVICE, SCHEMA, Session

ACCOUNT: Final = "bench"
TABLE: Final = """
    CREATE TABLE full_copy (
        entity text NOT NULL, number bigint NOT NULL, fields bytea NOT NULL,
        PRIMARY KEY (entity, number))"""

MEANING: Final = {
    "full_copies": "all rows written anew each time, as the old bot did: neither checked nor sealed",
    "beacon": "snapshot, checks, sealing and the vault in the same database",
    "stored_kb": "median of what one backup has the database keep",
    "wal_kb": "median of what the server writes to its log for one backup",
    "backup_ms": "median from the session to the commit",
    "restore_ms": "median from the database to a session database on the disk",
}

Side = Callable[[], Awaitable[int]]


async def measure(
    folder: Path, url: str, session: Session, *, live: Callable[[], None], rounds: int
) -> dict[str, Any]:
    """Both, `rounds` times each; `live` is the traffic before each round."""
    async with _Beacon(folder, url, session) as beacon, _FullCopies(folder, url, session) as full:
        sides = {
            "beacon": _Timed(beacon.back_up, beacon.restore),
            "full_copies": _Timed(full.back_up, full.restore),
        }
        for side in sides.values():
            await side.back_up()
        look: asyncpg.Connection = await asyncpg.connect(url)
        try:
            for turn in range(rounds):
                await asyncio.to_thread(live)
                for side in list(sides.values())[:: 1 if turn % 2 else -1]:
                    await side.round(look)
        finally:
            await look.close()
    return {"meaning": MEANING} | {name: side.figures() for name, side in sides.items()}


class _Timed:
    """What one of the two costs."""

    def __init__(self, back_up: Side, restore: Side) -> None:
        self.back_up = back_up
        self._restore = restore
        self._seen: dict[str, list[float]] = {}

    async def round(self, look: asyncpg.Connection) -> None:
        """One backup and one restore."""
        before = await look.fetchval("SELECT pg_current_wal_insert_lsn()")
        stored = await self._time("backup_ms", self.back_up)
        written = await look.fetchval("SELECT pg_current_wal_insert_lsn() - $1::pg_lsn", before)
        self._note("stored_kb", stored / 1000)
        self._note("wal_kb", float(written) / 1000)
        await self._time("restore_ms", self._restore)

    def figures(self) -> dict[str, int]:
        """Medians."""
        return {name: round(statistics.median(each)) for name, each in sorted(self._seen.items())}

    async def _time(self, name: str, side: Side) -> int:
        begun = time.perf_counter()
        answer = await side()
        self._note(name, 1000 * (time.perf_counter() - begun))
        return answer

    def _note(self, name: str, value: float) -> None:
        self._seen.setdefault(name, []).append(value)


class _Beacon:
    """The service's own parts, but for who decides when."""

    def __init__(self, folder: Path, url: str, session: Session) -> None:
        self._session = session
        self._target = folder / "restored-by-beacon.db"
        self._shelf = Shelf(
            vault=PostgresVault(url, account=ACCOUNT),
            keys=Keys((Key.of(random.Random(1).randbytes(32)),)),  # nothing here is a secret
            account=ACCOUNT,
            scratch=Scratch(folder / "work"),
            clock=SystemClock(),
            metrics=BackupMetrics(CollectorRegistry(), ACCOUNT),
        )
        self._epoch = 0

    async def __aenter__(self) -> "_Beacon":
        await self._shelf.vault.open()
        self._epoch = await self._shelf.vault.enter()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._shelf.vault.close()

    async def back_up(self) -> int:
        """One more backup; the bytes that it added."""
        async with self._shelf.scratch.file() as path:
            await asyncio.to_thread(take_snapshot, self._session.path, path)
            facts = await asyncio.to_thread(check, path, expected_device=DEVICE, before=None)
            added = await self._shelf.add(
                path, facts, epoch=self._epoch, fence=1, taken_at=time.time(), clean=False, identity=""
            )
        return added.kept.stored_bytes

    async def restore(self) -> int:
        """The newest, proven and checked."""
        self._target.unlink(missing_ok=True)
        fetched = await self._shelf.fetch((await self._shelf.listed())[0].sequence, self._target)
        return fetched.facts.size_bytes


class _FullCopies:
    """Every row of the session as a row of one table."""

    def __init__(self, folder: Path, url: str, session: Session) -> None:
        self._session = session
        self._target = folder / "restored-from-copy.db"
        self._url = url
        self._base: asyncpg.Connection

    async def __aenter__(self) -> "_FullCopies":
        self._base = await asyncpg.connect(self._url)
        await self._base.execute(TABLE)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._base.close()

    async def back_up(self) -> int:
        """All of it; the bytes of the rows."""
        rows = await asyncio.to_thread(self._read)
        async with self._base.transaction():
            await self._base.execute("DELETE FROM full_copy")
            await self._base.copy_records_to_table("full_copy", records=rows)
        return sum(len(entity) + 8 + len(fields) for entity, _, fields in rows)

    async def restore(self) -> int:
        """All rows, into a new database."""
        rows = await self._base.fetch("SELECT entity, fields FROM full_copy")
        await asyncio.to_thread(self._write, rows)
        return len(rows)

    def _read(self) -> list[tuple[str, int, bytes]]:
        with closing(sqlite3.connect(self._session.path)) as database:
            return [
                (table, number, msgspec.msgpack.encode(row))
                for table in _tables(database)
                for number, row in enumerate(database.execute(f"SELECT * FROM {table}"))
            ]

    def _write(self, rows: Iterable[asyncpg.Record]) -> None:
        by_table: dict[str, list[Sequence[object]]] = {}
        for row in rows:
            by_table.setdefault(row["entity"], []).append(msgspec.msgpack.decode(row["fields"]))
        self._target.unlink(missing_ok=True)
        with closing(sqlite3.connect(self._target)) as database:
            database.executescript(SCHEMA)
            with database:
                database.execute("DELETE FROM whatsmeow_version")
                for table, values in by_table.items():
                    marks = ", ".join("?" * len(values[0]))
                    database.executemany(f"INSERT INTO {table} VALUES ({marks})", values)


def _tables(database: sqlite3.Connection) -> list[str]:
    found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    return [name for (name,) in found]

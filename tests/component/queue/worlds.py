"""Where a store's data lies, and what is left of it when its process is killed: for the state machine."""

import shutil
import sqlite3
import tempfile
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Protocol

import asyncpg
from prometheus_client import CollectorRegistry

from service.clock import Clock
from service.queue.metrics import QueueMetrics
from service.queue.model import State
from service.queue.postgres import PostgresStore
from service.queue.sqlite import SqliteStore
from service.queue.store import QueueStore

ACCOUNT = "default"

_ACCOUNTS = count(1)


class World(Protocol):
    """The data of one example."""

    async def begin(self) -> None:
        """Make room."""

    async def end(self) -> None:
        """Clean up."""

    def make(self, clock: Clock) -> QueueStore:
        """An unopened store on the data."""

    async def crash(self, store: QueueStore) -> None:
        """Leave what a killed process leaves; the store is not used again."""

    async def written(self) -> tuple[int, dict[State, int]]:
        """How many lanes there are, and messages by state, counted by looking at every row."""


class SqliteWorld:
    """A folder with the file and its WAL. A crash copies both as they are, and goes on with the copy."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._names = (Path(self._folder.name) / f"queue-{i}.db" for i in count())
        self._path = next(self._names)

    async def begin(self) -> None:
        """Nothing: the folder is there."""

    async def end(self) -> None:
        """Remove the folder."""
        self._folder.cleanup()

    def make(self, clock: Clock) -> QueueStore:
        """A store on the file."""
        metrics = QueueMetrics(CollectorRegistry(), ACCOUNT)
        return SqliteStore(self._path, account=ACCOUNT, metrics=metrics, clock=clock)

    async def crash(self, store: QueueStore) -> None:
        """The WAL is not folded in; its index is gone, as after a power cut."""
        copy = next(self._names)
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{self._path}{suffix}", f"{copy}{suffix}")
        await store.close()
        self._path.unlink()
        self._path = copy

    async def written(self) -> tuple[int, dict[State, int]]:
        """Counted by a reader of its own."""
        with closing(sqlite3.connect(self._path)) as look:
            (lanes,) = look.execute("SELECT count(*) FROM lane").fetchone()
            rows = look.execute("SELECT state, count(*) FROM message GROUP BY state").fetchall()
        return lanes, {State(state): n for state, n in rows}


class PostgresWorld:
    """An account of its own. A crash is the server ending every connection of the store."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._account = f"machine-{next(_ACCOUNTS)}"
        self._look: asyncpg.Connection | None = None

    async def begin(self) -> None:
        """A connection of our own to look with."""
        self._look = await asyncpg.connect(self._url)

    async def end(self) -> None:
        """Let it go."""
        if self._look is not None:
            await self._look.close()

    def make(self, clock: Clock) -> QueueStore:
        """A store on the account."""
        metrics = QueueMetrics(CollectorRegistry(), self._account)
        return PostgresStore(self._url, account=self._account, metrics=metrics, clock=clock)

    async def crash(self, store: QueueStore) -> None:
        """A killed process says nothing; its connections end, and a new one comes."""
        assert self._look is not None
        await self._look.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'beacon queue'"
        )
        await store.close()

    async def written(self) -> tuple[int, dict[State, int]]:
        """Counted on the connection of our own."""
        assert self._look is not None
        lanes = await self._look.fetchval(
            "SELECT count(*) FROM beacon_lane WHERE account = $1", self._account
        )
        rows = await self._look.fetch(
            "SELECT state, count(*) AS n FROM beacon_message WHERE account = $1 GROUP BY state", self._account
        )
        return lanes, {State(row["state"]): row["n"] for row in rows}

"""Where a store's data lies, and what is left of it when its process is killed: for the state machine."""

import shutil
import sqlite3
import tempfile
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry

from service.clock import Clock
from service.queue.metrics import QueueMetrics
from service.queue.model import State
from service.queue.sqlite import SqliteStore
from service.queue.store import QueueStore

ACCOUNT = "default"


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

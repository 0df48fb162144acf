"""The two stores of the queue, and what lies under them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from uuid import uuid4

from prometheus_client import CollectorRegistry

from service.clock import SystemClock
from service.queue.metrics import QueueMetrics
from service.queue.postgres import PostgresStore
from service.queue.sqlite import SqliteStore
from service.queue.store import QueueStore
from tests.component.postgres import Postgres

ACCOUNT: Final = "default"
KINDS: Final = ("sqlite", "postgres")
SERVER: Final = {"fsync": "on", "shared_buffers": "128MB"}
"""PostgreSQL as it is installed: commits are on disk when they are answered."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a queue is kept: a file, or the URL of a database."""

    kind: str
    where: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The opposite of `str`."""
        kind, _, where = text.partition("=")
        return cls(kind, where)

    def __str__(self) -> str:
        return f"{self.kind}={self.where}"

    @asynccontextmanager
    async def store(self, registry: CollectorRegistry | None = None) -> AsyncIterator[QueueStore]:
        """The queue, open."""
        metrics, clock = QueueMetrics(registry or CollectorRegistry(), ACCOUNT), SystemClock()
        store: QueueStore
        if self.kind == "sqlite":
            store = SqliteStore(Path(self.where), account=ACCOUNT, metrics=metrics, clock=clock)
        else:
            store = PostgresStore(self.where, account=ACCOUNT, metrics=metrics, clock=clock)
        await store.open()
        try:
            yield store
        finally:
            await store.close()


class Places:
    """Makes places: files in a folder, databases of a PostgreSQL that lives as long as this context."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.postgres = Postgres(**SERVER)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.postgres.__enter__)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.postgres.__exit__)

    async def new(self, kind: str) -> Place:
        """An empty one."""
        if kind == "sqlite":
            return Place(kind, str(self._folder / f"{uuid4().hex}.db"))
        return Place(kind, self.postgres.url(await self.postgres.create()))

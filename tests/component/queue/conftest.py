"""A store, opened; and the world around a queue."""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from typing import Final

import pytest
from prometheus_client import CollectorRegistry

from service.queue.metrics import QueueMetrics
from service.queue.postgres import PostgresStore
from service.queue.sqlite import SqliteStore
from service.queue.store import QueueStore
from tests.clock import FakeClock
from tests.component.postgres import Postgres

ACCOUNT = "default"

STORES: Final = ("sqlite", "postgres")

_ACCOUNTS = count(1)

MakeStore = Callable[[], QueueStore]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> QueueMetrics:
    return QueueMetrics(registry, ACCOUNT)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@pytest.fixture(scope="session")
def queue_url(postgres: Postgres) -> str:
    """A database for queues, one for all tests of this process: each has an account of its own in it."""
    return postgres.url(asyncio.run(postgres.create()))


@pytest.fixture
def account() -> str:
    """An account that nobody has used."""
    return f"{ACCOUNT}-{next(_ACCOUNTS)}"


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    """Which store."""
    kind: str = request.param
    return kind


@pytest.fixture
def make_store(
    request: pytest.FixtureRequest,
    kind: str,
    database: Path,
    account: str,
    clock: FakeClock,
    metrics: QueueMetrics,
) -> MakeStore:
    """Makes an unopened store on the same data each time, as a restart does."""
    if kind == "sqlite":
        return lambda: SqliteStore(database, account=ACCOUNT, metrics=metrics, clock=clock)
    url: str = request.getfixturevalue("queue_url")
    return lambda: PostgresStore(url, account=account, metrics=metrics, clock=clock)


@pytest.fixture
def make_twin(request: pytest.FixtureRequest, kind: str, tmp_path: Path, clock: FakeClock) -> MakeStore:
    """Makes an unopened store with data of its own each time."""
    numbers = count()
    metrics = QueueMetrics(CollectorRegistry(), ACCOUNT)
    if kind == "sqlite":
        return lambda: SqliteStore(
            tmp_path / f"{next(numbers)}.db", account=ACCOUNT, metrics=metrics, clock=clock
        )
    url: str = request.getfixturevalue("queue_url")
    return lambda: PostgresStore(url, account=f"{ACCOUNT}-{next(_ACCOUNTS)}", metrics=metrics, clock=clock)


@pytest.fixture
async def twins(make_twin: MakeStore) -> AsyncIterator[tuple[QueueStore, QueueStore]]:
    """Two stores, to do the same to both in two ways."""
    one, other = make_twin(), make_twin()
    await one.open()
    await other.open()
    yield one, other
    await one.close()
    await other.close()


@pytest.fixture
async def store(make_store: MakeStore) -> AsyncIterator[QueueStore]:
    store = make_store()
    await store.open()
    yield store
    await store.close()

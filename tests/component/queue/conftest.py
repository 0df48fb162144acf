"""A store, opened; and the world around a queue."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.queue.metrics import QueueMetrics
from service.queue.sqlite import SqliteStore
from service.queue.store import QueueStore
from tests.clock import FakeClock

ACCOUNT = "default"

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


@pytest.fixture(params=["sqlite"])
def make_store(
    request: pytest.FixtureRequest, database: Path, clock: FakeClock, metrics: QueueMetrics
) -> MakeStore:
    """Makes an unopened store on the same data each time, as a restart does."""
    makers: dict[str, MakeStore] = {
        "sqlite": lambda: SqliteStore(database, account=ACCOUNT, metrics=metrics, clock=clock)
    }
    return makers[request.param]


@pytest.fixture
async def store(make_store: MakeStore) -> AsyncIterator[QueueStore]:
    store = make_store()
    await store.open()
    yield store
    await store.close()

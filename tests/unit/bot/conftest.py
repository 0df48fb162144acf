"""Each test talks to a bot on a queue of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.queue.metrics import QueueMetrics
from service.queue.sqlite import SqliteStore
from tests.clock import FakeClock
from tests.unit.bot.conversation import Conversation


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Conversation]:
    clock = FakeClock()
    metrics = QueueMetrics(CollectorRegistry(), "default")
    store = SqliteStore(tmp_path / "queue.db", account="default", metrics=metrics, clock=clock)
    await store.open()
    yield Conversation(store, clock=clock)
    await store.close()

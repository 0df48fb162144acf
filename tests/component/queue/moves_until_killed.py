"""A process that moves a queue in small batches and says how far it is, until it is killed.

python -m tests.component.queue.moves_until_killed SOURCE TARGET, where TARGET is a path or a URL; a line for
each batch, then the name under which the source is kept.
"""

import asyncio
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from service.clock import Clock, SystemClock
from service.queue.metrics import QueueMetrics
from service.queue.move import move
from service.queue.postgres import PostgresStore
from service.queue.sqlite import SqliteStore
from service.queue.store import QueueStore


def sqlite_store(path: Path, clock: Clock, *, account: str = "default") -> SqliteStore:
    """A store on that file."""
    metrics = QueueMetrics(CollectorRegistry(), account)
    return SqliteStore(path, account=account, metrics=metrics, clock=clock)


def store_at(target: str, clock: Clock) -> QueueStore:
    """A store on that path or URL."""
    if "://" not in target:
        return sqlite_store(Path(target), clock)
    metrics = QueueMetrics(CollectorRegistry(), "default")
    return PostgresStore(target, account="default", metrics=metrics, clock=clock)


async def main(source: Path, target: str) -> None:
    clock = SystemClock()
    store = store_at(target, clock)
    await store.open()
    moved = await move(
        source,
        store,
        account="default",
        clock=clock,
        progress=lambda done, total: print(done, total, flush=True),  # noqa: T201
        batch=7,
    )
    await store.close()
    print(moved.kept_as, flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))

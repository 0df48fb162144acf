"""A process that keeps and claims messages and says so, until it is killed.

python -m tests.component.queue.writes_until_killed PATH; prints `kept ID` once enqueue has answered and
`claimed ID` once claim has.
"""

import asyncio
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from service.clock import SystemClock
from service.queue.metrics import QueueMetrics
from service.queue.sqlite import SqliteStore
from tests.component.queue.support import to
from tests.people import ANN


async def main(path: Path) -> None:
    clock = SystemClock()
    store = SqliteStore(
        path, account="default", metrics=QueueMetrics(CollectorRegistry(), "default"), clock=clock
    )
    await store.open()

    async def keep() -> None:
        while True:
            (answer,) = await store.enqueue([to(ANN)], now=clock.now())
            print("kept", answer.message.id, flush=True)  # noqa: T201

    async def claim() -> None:
        while True:
            for claim in await store.claim(worker="killed", now=clock.now()):
                print("claimed", claim.message.id, flush=True)  # noqa: T201
                await store.complete(claim, whatsapp_id=claim.message.id, now=clock.now())

    await asyncio.gather(keep(), keep(), keep(), claim())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

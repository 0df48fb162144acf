"""Store and dispatcher in a process of their own, with an engine that answers at once: `PLACE FOLDER`.

Each time that it is asked it hands in another block of the backlog, sends until as many messages went, and
answers how long sending took (`seconds`), resident memory (`rss_bytes`) and what waits (`queued`).
"""

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import psutil
import structlog
from opentelemetry import trace
from prometheus_client import CollectorRegistry

from service.clock import SystemClock
from service.engine.protocol import Sent
from service.queue.dispatcher import Dispatcher
from service.queue.files import OutgoingFiles
from service.queue.metrics import QueueMetrics
from service.queue.model import State
from service.queue.pace.contract import Unpaced
from service.queue.store import QueueStore
from service.telemetry.pseudonym import Pseudonyms
from tests.bench import child
from tests.bench.backlog import BLOCK, block
from tests.bench.stores import ACCOUNT, Place


class Instant:
    """An engine whose server has every message at once."""

    def __init__(self) -> None:
        self._ids = count(1)
        self._awaited = 0
        self._enough = asyncio.Event()

    async def send(self, **_: Any) -> Sent:
        """It went."""
        number = next(self._ids)
        self._awaited -= 1
        if not self._awaited:
            self._enough.set()
        return Sent(id=number, message_id=f"3EB0{number:016X}", timestamp=time.time(), took_s=0.0)

    async def find_message_id(self, secret: bytes) -> str | None:
        """No send is ever in doubt."""
        raise AssertionError(secret)

    async def sent(self, messages: int) -> None:
        """Return once that many more went."""
        self._awaited = messages
        self._enough.clear()
        await self._enough.wait()


async def main(place: Place, folder: Path) -> None:
    """Answer until there are no more questions."""
    engine = Instant()
    async with place.store() as store, dispatching(store, engine, folder) as dispatcher:
        new = count(store.counts()[State.QUEUED] // BLOCK)

        async def send(_: dict[str, Any]) -> dict[str, float]:
            await store.enqueue(block(next(new)), now=time.time())
            begun = time.perf_counter()
            dispatcher.connected()
            await engine.sent(BLOCK)
            took_s = time.perf_counter() - begun
            dispatcher.disconnected()
            return {
                "seconds": took_s,
                "rss_bytes": psutil.Process().memory_info().rss,
                "queued": store.counts()[State.QUEUED],
            }

        await child.answer(send)


@asynccontextmanager
async def dispatching(store: QueueStore, engine: Instant, folder: Path) -> AsyncIterator[Dispatcher]:
    """A running dispatcher, not connected."""
    dispatcher = Dispatcher(
        store=store,
        send=engine.send,
        find_message_id=engine.find_message_id,
        session_identity=lambda: "bench",
        files=OutgoingFiles(folder, read=store.file),
        pacer=Unpaced(),
        worker="bench",
        unknown_wait_s=60.0,
        clock=SystemClock(),
        rng=Random(1),
        metrics=QueueMetrics(CollectorRegistry(), ACCOUNT),
        tracer=trace.NoOpTracer(),
        pseudonyms=Pseudonyms(b"bench" * 8),
    )
    running = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher
    finally:
        await dispatcher.stop()
        await running


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(main(Place.parse(sys.argv[1]), Path(sys.argv[2])))

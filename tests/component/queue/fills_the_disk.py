"""A process that may not let a file grow, meets that bound, and goes on when it is lifted.

python -m tests.component.queue.fills_the_disk PATH LIMIT_BYTES; prints one line of JSON.
"""

import asyncio
import json
import resource
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from service.clock import SystemClock
from service.errors import StoreFull
from service.queue.metrics import QueueMetrics
from service.queue.model import State
from service.queue.sqlite import SqliteStore
from tests.component.queue.support import to
from tests.people import ANN, BEN


async def main(path: Path, limit_bytes: int) -> None:
    clock = SystemClock()
    registry = CollectorRegistry()
    store = SqliteStore(path, account="default", metrics=QueueMetrics(registry, "default"), clock=clock)
    await store.open()
    _, no_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, no_limit))
    accepted: list[str] = []
    error = ""
    while not error:
        try:
            (answer,) = await store.enqueue([to(ANN, "x" * 5000)], now=clock.now())
            accepted.append(answer.message.id)
        except StoreFull as full:
            error = str(full)
    counted_when_full = store.counts()[State.QUEUED]
    readable_when_full = [await store.get(message_id) is not None for message_id in accepted]
    resource.setrlimit(resource.RLIMIT_FSIZE, (no_limit, no_limit))
    (after,) = await store.enqueue([to(BEN, "after")], now=clock.now())
    await store.close()
    errors = registry.get_sample_value(
        "whatsapp_queue_store_errors_total", {"account": "default", "reason": "full"}
    )
    answer_line = {
        "accepted": accepted,
        "after": after.message.id,
        "counted_when_full": counted_when_full,
        "readable_when_full": all(readable_when_full),
        "error": error,
        "errors_counted": errors,
    }
    print(json.dumps(answer_line))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))

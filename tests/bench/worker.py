"""One queue that is worked off, in a process of its own: `URL beacon SHARES LIMIT`, `URL pgqueuer MANAGERS
BATCH` or `URL procrastinate CONCURRENCY`. Answers seconds from the first message taken to the last one done.

The others' times are those that they write into their own logs, by the server's clock; they are the shorter
ones, since a transaction's time is that of its begin.
"""

import asyncio
import logging
import sys
import time
from typing import Any, Final

import asyncpg
import procrastinate
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

from service.queue.model import Claim
from service.queue.store import QueueStore
from tests.bench import child
from tests.bench.backlog import TEXT, messages_to
from tests.bench.stores import Place

CHATS: Final = 1000
BATCH: Final = 1000
PGQUEUER_S: Final = """
    SELECT extract(epoch FROM max(created) FILTER (WHERE status = 'successful')
                            - min(created) FILTER (WHERE status = 'picked')),
           count(*) FILTER (WHERE status = 'successful')
    FROM pgqueuer_log"""
PROCRASTINATE_S: Final = """
    SELECT extract(epoch FROM max(at) FILTER (WHERE type = 'succeeded')
                            - min(at) FILTER (WHERE type = 'started')),
           count(*) FILTER (WHERE type = 'succeeded')
    FROM procrastinate_events"""


async def beacon(url: str, messages: int, shares: int, limit: int) -> float:
    """This queue with that many shares of the places for messages at work, each of that many places."""
    async with Place("postgres", url).store() as store:
        new = messages_to(CHATS, messages)
        for start in range(0, messages, BATCH):
            await store.enqueue(new[start : start + BATCH], now=time.time())
        await vacuum(url)
        begun = time.perf_counter()
        done = sum(await asyncio.gather(*(_work(store, limit) for _ in range(shares))))
        took_s = time.perf_counter() - begun
        assert done == messages, (done, messages)
        return took_s


async def _work(store: QueueStore, limit: int) -> int:
    """Fill these places again and again. Like the dispatcher: each message is completed by itself, and the
    next are claimed in the turn of the event loop in which these are, so that they share a commit."""
    done = 0
    async with asyncio.TaskGroup() as group:
        claiming = group.create_task(_claim(store, limit))
        while claims := await claiming:
            for claim in claims:
                group.create_task(_complete(store, claim))
            claiming = group.create_task(_claim(store, limit))
            done += len(claims)
    return done


async def _claim(store: QueueStore, limit: int) -> list[Claim]:
    return await store.claim(worker="bench", now=time.time(), limit=limit)


async def _complete(store: QueueStore, claim: Claim) -> None:
    await store.complete(claim, whatsapp_id=f"3EB0{claim.token:018X}", now=time.time())


async def pgqueuer(url: str, messages: int, managers: int, batch: int) -> float:
    """pgqueuer with that many managers, each taking batches of that size."""
    connection = await asyncpg.connect(url)
    queries = Queries(AsyncpgDriver(connection))
    await queries.install()
    await queries.optimize_autovacuum()
    await queries.enqueue(["send"] * messages, [TEXT.encode()] * messages, [0] * messages)
    await vacuum(url)
    queues = [PgQueuer(AsyncpgDriver(await asyncpg.connect(url))) for _ in range(managers)]
    for queue in queues:
        queue.entrypoint("send")(_take)
    await asyncio.gather(*(one.run(batch_size=batch, mode=QueueExecutionMode.drain) for one in queues))
    return await _logged(url, PGQUEUER_S, messages)


async def _take(_: Any) -> None:
    """A job, done at once."""


async def _send(text: str) -> None:
    """A job, done at once."""


async def run_procrastinate(url: str, messages: int, concurrency: int) -> float:
    """procrastinate with one worker of that concurrency, and a connection for each."""
    connector = procrastinate.PsycopgConnector(conninfo=url, min_size=concurrency, max_size=concurrency)
    app = procrastinate.App(connector=connector)

    send = app.task(_send, name="send")
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await send.batch_defer_async(*({"text": TEXT} for _ in range(messages)))
        await vacuum(url)
        await app.run_worker_async(concurrency=concurrency, wait=False, install_signal_handlers=False)
    return await _logged(url, PROCRASTINATE_S, messages)


async def vacuum(url: str) -> None:
    """What a server does by itself, done before the clock runs."""
    connection = await asyncpg.connect(url)
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")
    await connection.close()


async def _logged(url: str, query: str, messages: int) -> float:
    connection = await asyncpg.connect(url)
    row = await connection.fetchrow(query)
    await connection.close()
    assert row is not None
    took_s, done = row
    assert done == messages, (done, messages)
    return float(took_s)


async def _answer(url: str, name: str, settings: list[int]) -> None:
    async def work(question: dict[str, Any]) -> float:
        messages = question["messages"]
        match name:
            case "beacon":
                return await beacon(url, messages, *settings)
            case "pgqueuer":
                return await pgqueuer(url, messages, *settings)
            case _:
                return await run_procrastinate(url, messages, *settings)

    await child.answer(work)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    _, given_url, given_name, *numbers = sys.argv
    uvloop.run(_answer(given_url, given_name, [int(number) for number in numbers]))

"""Messages accepted per second through HTTP, beside bare durable inserts into the same kind of store.

The service runs as a process of its own and is not paired: it accepts and keeps, nothing is sent. The client
writes requests that were made beforehand, so that most of what is measured is the service's work.

A bare insert is one row of id and text, in one statement from one connection, durable before the next one.
What the service does beside it: HTTP, validation, the message's place in its chat's order, its counts.
"""

import asyncio
import json
import sqlite3
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from service.demo.host import Host
from service.simulator.server import Simulator
from tests.bench.backlog import TEXT
from tests.bench.figures import ratio, whole
from tests.bench.stores import KINDS, Place, Places

CONNECTIONS: Final = (1, 10, 100)
BATCHES: Final = (1, 100)
CHATS: Final = 1000
WARM_UP_S: Final = 0.3

MEANING: Final = {
    "accepted_per_second": "messages answered 202, by connections and by messages in a request, each round",
    "bare_per_second": "rows inserted by one connection, by rows in a commit, each round",
    "accepted_to_bare": "median over the rounds of the former to the latter, with as many in a commit",
}


async def measure(folder: Path, places: Places, *, seconds: float, rounds: int) -> dict[str, Any]:
    """All figures of this benchmark, by name of the store."""
    figures: dict[str, Any] = {"meaning": MEANING}
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator(folder))
        for kind in KINDS:
            home = folder / f"accepting-{kind}"
            home.mkdir()
            environment = dict(simulator.environment())
            kept, bare = await places.new(kind), await places.new(kind)
            if kind == "sqlite":
                kept = Place(kind, str(home / "service" / "queue.db"))
            else:
                environment["DATABASE_URL"] = kept.where
            async with Host(home, environment, quiet=True) as host:
                figures[kind] = await _race(host, bare, seconds=seconds, rounds=rounds)
            async with kept.store() as store:
                there, accepted = sum(store.counts().values()), figures[kind].pop("kept")
                assert there == accepted, f"{accepted} messages were accepted, {kind} keeps {there}"
    return figures


async def _race(host: Host, bare: Place, *, seconds: float, rounds: int) -> dict[str, Any]:
    loads = {f"{c}x{size}": (c, size) for size in BATCHES for c in CONNECTIONS}
    accepted: dict[str, list[float]] = {name: [] for name in loads}
    inserted: dict[str, list[float]] = {str(size): [] for size in BATCHES}
    kept = await load(host.url, connections=max(CONNECTIONS), size=1, seconds=WARM_UP_S)
    for _ in range(rounds):
        for size in BATCHES:
            inserted[str(size)].append(await insert(bare, size=size, seconds=seconds))
        for name, (connections, size) in loads.items():
            begun = time.perf_counter()
            messages = await load(host.url, connections=connections, size=size, seconds=seconds)
            accepted[name].append(messages / (time.perf_counter() - begun))
            kept += messages
    return {
        "accepted_per_second": {name: whole(rates) for name, rates in accepted.items()},
        "bare_per_second": {name: whole(rates) for name, rates in inserted.items()},
        "accepted_to_bare": {
            name: ratio(rates, inserted[str(loads[name][1])]) for name, rates in accepted.items()
        },
        "kept": kept,
    }


async def load(url: str, *, connections: int, size: int, seconds: float) -> int:
    """Hand in for that long, requests of that size over that many connections; messages accepted."""
    until = time.perf_counter() + seconds
    requests = [_request(url, first=c * size, size=size) for c in range(connections)]
    return size * sum(await asyncio.gather(*(_post(url, request, until) for request in requests)))


def _request(url: str, *, first: int, size: int) -> bytes:
    messages = [{"to": str(15_550_000_000 + i % CHATS), "text": TEXT} for i in range(first, first + size)]
    body = json.dumps(messages[0] if size == 1 else {"messages": messages}).encode()
    head = (
        "POST /api/v1/messages HTTP/1.1",
        f"Host: {urlsplit(url).netloc}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*head, "", "")).encode() + body


async def _post(url: str, request: bytes, until: float) -> int:
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    accepted = 0
    while time.perf_counter() < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        status, _, fields = head.partition(b"\r\n")
        _, _, length = fields.lower().partition(b"content-length:")
        body = await reader.readexactly(int(length.partition(b"\r\n")[0]))
        assert status.split()[1] == b"202", head + body
        accepted += 1
    writer.close()
    await writer.wait_closed()
    return accepted


async def insert(place: Place, *, size: int, seconds: float) -> float:
    """Rows per second into a bare table, that many in a commit."""
    if place.kind == "sqlite":
        return await asyncio.to_thread(_insert_sqlite, place.where, size, seconds)
    return await _insert_postgres(place.where, size, seconds)


TABLE: Final = "CREATE TABLE IF NOT EXISTS bare (id text PRIMARY KEY, text text NOT NULL)"


def _insert_sqlite(path: str, size: int, seconds: float) -> float:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(TABLE)
    begun, rows = time.perf_counter(), 0
    while (took_s := time.perf_counter() - begun) < seconds:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO bare VALUES (?, ?)", [(uuid4().hex, TEXT) for _ in range(size)])
        connection.execute("COMMIT")
        rows += size
    connection.close()
    return rows / took_s


async def _insert_postgres(url: str, size: int, seconds: float) -> float:
    connection = await asyncpg.connect(url)
    await connection.execute(TABLE)
    statement = await connection.prepare("INSERT INTO bare SELECT unnest($1::text[]), $2")
    begun, rows = time.perf_counter(), 0
    while (took_s := time.perf_counter() - begun) < seconds:
        await statement.fetch([uuid4().hex for _ in range(size)], TEXT)
        rows += size
    await connection.close()
    return rows / took_s

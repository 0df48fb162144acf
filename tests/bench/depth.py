"""What a long queue costs: sending, scraping and memory with many waiting messages beside few.

Both queues are there at the same time and are asked in turn, so that what the machine does meanwhile meets
both. Sending is store and dispatcher with an engine that answers at once, each pair in a process of its own;
as many are handed in first, so that the depth stays. Scraping is `GET /metrics` of the whole
service, which is not paired and therefore sends nothing; its memory is that of its own process after that.
"""

import statistics
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import aiohttp

from service.demo.host import Host
from service.simulator.server import Simulator
from tests.bench import backlog
from tests.bench.child import Child
from tests.bench.figures import mb, ratio, whole
from tests.bench.stores import KINDS, Place, Places

FEW: Final = 1000
SCRAPES: Final = 100

MEANING: Final = {
    "sent_per_second": "messages claimed, sent and completed, each round, by how many wait",
    "deep_to_shallow": "median over the rounds of the rate with many to that with few; goal: at least 0.9",
    "scrape_ms": "median time of GET /metrics, by how many wait",
    "scrape_deep_to_shallow": "median of that time with many waiting to that with few; goal: at most 1.5",
    "store_and_dispatcher_mb": "resident memory after all rounds of sending, by how many wait",
    "service_mb": "resident memory of the service without its engine after the scrapes, by how many wait",
    "extra_mb": "the larger growth from few to many of the two; goal: at most 20",
}


async def measure(folder: Path, places: Places, *, deep: int, rounds: int) -> dict[str, Any]:
    """All figures of this benchmark, by name of the store."""
    figures: dict[str, Any] = {"meaning": MEANING}
    async with Simulator(folder) as simulator:
        for kind in KINDS:
            homes, filled = {}, {}
            for messages in (FEW, deep):
                homes[messages] = folder / f"depth-{kind}-{messages}"
                filled[messages] = await _prepared(homes[messages], kind, places)
                begun = time.perf_counter()
                await backlog.make(filled[messages], messages)
                filled_s = time.perf_counter() - begun
            figures[kind] = {"filled_in_s": round(filled_s, 1)}
            figures[kind] |= await _send(homes, filled, rounds=rounds)
            figures[kind] |= await _scrape(homes, filled, simulator)
            memory = [figures[kind][name] for name in ("store_and_dispatcher_mb", "service_mb")]
            figures[kind]["extra_mb"] = round(max(each[str(deep)] - each[str(FEW)] for each in memory), 1)
    return figures


async def _prepared(home: Path, kind: str, places: Places) -> Place:
    """Where a service with this folder keeps its queue."""
    (home / "service").mkdir(parents=True)
    if kind == "sqlite":
        return Place(kind, str(home / "service" / "queue.db"))
    return await places.new(kind)


async def _send(homes: Mapping[int, Path], filled: Mapping[int, Place], *, rounds: int) -> dict[str, Any]:
    rates: dict[int, list[float]] = {messages: [] for messages in filled}
    memory: dict[int, int] = {}
    async with AsyncExitStack() as stack:
        children = {
            messages: await stack.enter_async_context(
                Child("tests.bench.drain", str(place), str(homes[messages] / "outgoing"))
            )
            for messages, place in filled.items()
        }
        for lap in range(rounds + 1):
            for messages, child in list(children.items())[:: -1 if lap % 2 else 1]:
                told = await child.ask()
                memory[messages] = told["rss_bytes"]
                if lap:  # the first one warms up
                    rates[messages].append(backlog.BLOCK / told["seconds"])
    few, many = rates.values()
    return {
        "sent_per_second": {str(messages): whole(measured) for messages, measured in rates.items()},
        "deep_to_shallow": ratio(many, few),
        "store_and_dispatcher_mb": {str(messages): mb(size) for messages, size in memory.items()},
    }


async def _scrape(
    homes: Mapping[int, Path], filled: Mapping[int, Place], simulator: Simulator
) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        hosts = {}
        for messages, place in filled.items():
            environment = dict(simulator.environment())
            if place.kind == "postgres":
                environment["DATABASE_URL"] = place.where
            host = Host(homes[messages], environment, quiet=True)
            hosts[messages] = await stack.enter_async_context(host)
            seen = await host.metric("whatsapp_queue_messages")
            assert seen >= messages, (
                f"the service sees {seen:g} of the {messages} messages in its {place.kind}"
            )
        took: dict[int, list[float]] = {messages: [] for messages in hosts}
        for _ in range(SCRAPES):
            for messages, host in hosts.items():
                took[messages].append(await _timed(http, f"{host.url}/metrics"))
        few, many = took.values()
        return {
            "scrape_ms": {str(m): round(statistics.median(each) * 1000, 2) for m, each in took.items()},
            "scrape_deep_to_shallow": ratio(many, few),
            "service_mb": {str(messages): mb(host.memory()[0]) for messages, host in hosts.items()},
        }


async def _timed(http: aiohttp.ClientSession, url: str) -> float:
    begun = time.perf_counter()
    async with http.get(url) as response:
        response.raise_for_status()
        await response.read()
    return time.perf_counter() - begun

"""PostgreSQL goes away, hangs or is slow while messages stream in: nothing is lost, all heals by itself."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from service.demo.check import UNKNOWN_WAIT_S, pair
from service.demo.host import Host
from service.demo.ledger import Ledger
from service.demo.people import CONTACTS, contact
from service.simulator.server import Simulator
from tests.chaos.stream import Stream
from tests.chaos.takeover import Wire
from tests.component.postgres import Postgres

pytestmark = pytest.mark.timeout(240)

NAMES: Final = ("Ann", "Ben")
DEADLINE_S: Final = 60.0
SLOW_S: Final = 0.05
STORE_ERRORS: Final = "whatsapp_queue_store_errors_total"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


@dataclass
class World:
    """A service whose queue is in PostgreSQL, and programs that hand in messages without a pause."""

    host: Host
    wire: Wire
    ledger: Ledger
    streams: list[Stream]
    http: aiohttp.ClientSession

    @property
    def refusals(self) -> int:
        return sum(len(stream.refusals) for stream in self.streams)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not condition():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"within {DEADLINE_S:.0f} s: {what}") from None

    async def until_accepted(self, more: int) -> None:
        wanted = len(self.ledger.ids) + more
        await self.until(lambda: len(self.ledger.ids) >= wanted, f"{more} more messages are accepted")

    async def until_refused(self) -> None:
        before = self.refusals
        await self.until(lambda: self.refusals > before, "the API says that it cannot keep messages")

    async def until_ready(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while await self.status("/readyz") != 200:
                await asyncio.sleep(0.05)

    async def status(self, path: str) -> int:
        async with self.http.get(path) as response:
            return response.status


@asynccontextmanager
async def world(folder: Path, postgres: Postgres) -> AsyncIterator[World]:
    """All of it, with messages streaming. At its end the accepted must have arrived, once and in order."""
    ledger, stop = Ledger(), asyncio.Event()
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator(folder))
        wire = await stack.enter_async_context(Wire(postgres.port))
        for name in NAMES:
            ledger.people[name] = await stack.enter_async_context(
                contact(name, CONTACTS[name], simulator=simulator, folder=folder, heard=ledger.on_heard)
            )
        environment = {
            **simulator.environment(),
            "DATABASE_URL": postgres.url(await postgres.create(), port=wire.port),
            "UNKNOWN_WAIT": UNKNOWN_WAIT_S,
            "PACING": "off",
        }
        host = await stack.enter_async_context(Host(folder, environment, quiet=True))
        await pair(host, simulator)
        http = await stack.enter_async_context(aiohttp.ClientSession(host.url))
        streams = [Stream(name, http, ledger, random.Random(name)) for name in NAMES]
        process = host.process
        async with asyncio.TaskGroup() as group:
            for stream in streams:
                group.create_task(stream.run(stop))
            running = World(host, wire, ledger, streams, http)
            await running.until_accepted(20)
            yield running
            await running.until_ready()
            await running.until_accepted(20)
            stop.set()
        await ledger.until_delivered(len(ledger.ids))
        await host.until_settled(ledger.ids)
        await host.until(lambda session: session["state"] == "connected")
        assert host.process == process, "the service was never restarted"
        assert (ledger.duplicates, ledger.out_of_order) == (0, 0)


def assert_told_why(running: World) -> None:
    """Programs were told that their messages cannot be kept now, and why."""
    for stream in running.streams:
        for status, problem in stream.refusals:
            assert (status, problem["type"]) == (503, "urn:problem-type:beacon:store-unavailable")
            assert "(queue database: " in problem["detail"]


async def test_while_it_is_away_nothing_is_accepted_or_lost_and_everyone_is_told(
    tmp_path: Path, postgres: Postgres
) -> None:
    async with world(tmp_path, postgres) as running:
        postgres.kill()
        try:
            await running.until_refused()
            assert await running.status("/readyz") == 503
            assert await running.status("/livez") == 200
        finally:
            postgres.start()
        await running.until_ready()
        assert await running.host.metric(STORE_ERRORS) > 0
    assert_told_why(running)


async def test_while_it_hangs_nothing_is_accepted_or_lost_and_everyone_is_told(
    tmp_path: Path, postgres: Postgres
) -> None:
    async with world(tmp_path, postgres) as running:
        running.wire.cut()
        await running.until_refused()
        assert await running.status("/livez") == 200
        running.wire.mend()
        await running.until_ready()
        assert await running.host.metric(STORE_ERRORS) > 0
    assert_told_why(running)


async def test_while_it_is_slow_messages_are_accepted_and_arrive(tmp_path: Path, postgres: Postgres) -> None:
    async with world(tmp_path, postgres) as running:
        running.wire.delay_s = SLOW_S
        await running.until_accepted(15)
        assert await running.host.metric(STORE_ERRORS) == 0
        running.wire.delay_s = 0.0
    assert running.refusals == 0, "slow is not away"

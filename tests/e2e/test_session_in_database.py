"""SESSION_STORE=postgres: the service loses its disk and needs no scan and no backup."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.demo.check import pair
from service.demo.host import Host
from service.demo.people import BEACON, contact
from service.simulator.server import Simulator
from tests.component.postgres import Postgres
from tests.people import ANN


@pytest.fixture
def database() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


async def test_a_killed_service_without_its_disk_goes_on_with_the_session_of_the_database(
    tmp_path: Path, database: Postgres
) -> None:
    settings = {"SESSION_STORE": "postgres", "DATABASE_URL": database.url(), "LOG_FORMAT": "json"}
    heard = asyncio.Event()
    async with (
        Simulator(tmp_path) as simulator,
        contact("Ann", ANN, simulator=simulator, folder=tmp_path, heard=heard.set) as ann,
        Host(tmp_path, {**simulator.environment(), **settings}, quiet=True) as host,
    ):
        await pair(host, simulator)
        first = await host.post([{"to": ANN, "text": "one"}])
        await host.until_settled(first)
        assert not (tmp_path / "service" / "session.db").exists()

        await host.kill()
        shutil.rmtree(tmp_path / "service")
        await host.start()
        states = set()
        await host.until(lambda it: states.add(it["state"]) or it["state"] == "connected")  # type: ignore[func-returns-value]
        assert "pairing" not in states, "nobody should have to scan"

        second = await host.post([{"to": ANN, "text": "two"}])
        await host.until_settled(second)
        async with asyncio.timeout(30):
            while not {"one", "two"} <= set(ann.inbox):
                heard.clear()
                await heard.wait()
        assert await host.metric("whatsapp_backup_enabled") == 0
        await host.stop()
    log = (tmp_path / "service.log").read_text()
    assert "secret-word" not in log
    told = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [line["sessions_dropped"] for line in told if line["event"] == "session.opened"] == [0, 0]


async def test_what_people_write_while_the_database_is_away_is_answered_when_it_is_back(
    tmp_path: Path, database: Postgres
) -> None:
    settings = {"SESSION_STORE": "postgres", "DATABASE_URL": database.url()}
    heard = asyncio.Event()
    async with (
        Simulator(tmp_path) as simulator,
        contact("Ann", ANN, simulator=simulator, folder=tmp_path, heard=heard.set) as ann,
        Host(tmp_path, {**simulator.environment(), **settings}, quiet=True) as host,
    ):
        await pair(host, simulator)
        await ann.send(BEACON, "!ping")
        await asyncio.wait_for(heard.wait(), 30)
        heard.clear()

        (engine,) = host.engines()
        database.kill()
        await ann.send(BEACON, "!ping")
        await asyncio.to_thread(engine.wait, 30)
        await ann.send(BEACON, "!ping")
        database.start()

        async with asyncio.timeout(90):
            while len(ann.inbox) < 3:
                heard.clear()
                await heard.wait()
        assert not ann.asked_again, "no message had to be sent twice"

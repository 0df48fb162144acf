"""SESSION_STORE=postgres: the service loses its disk, or its tables, and needs no scan."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from service.demo.check import pair
from service.demo.host import Host
from service.demo.people import BEACON, contact
from service.simulator.server import Simulator
from tests.component.postgres import Postgres
from tests.e2e.test_backup import dyno
from tests.e2e.test_restore import AFTER, KEPT, LATER, by_hand, send
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
        async with asyncio.timeout(60):
            while not {"one", "two"} <= set(ann.inbox):
                heard.clear()
                await heard.wait()
        assert await host.metric("whatsapp_backup_enabled") == 1
        assert await host.metric("whatsapp_backup_restores_total") == 0
        await host.stop()
    log = (tmp_path / "service.log").read_text()
    assert "secret-word" not in log
    told = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert any("in one database" in line["note"] for line in told if line["event"] == "service.note")
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
        await asyncio.wait_for(heard.wait(), 60)
        heard.clear()

        (engine,) = host.engines()
        database.kill()
        await ann.send(BEACON, "!ping")
        await asyncio.to_thread(engine.wait, 60)
        await ann.send(BEACON, "!ping")
        database.start()

        async with asyncio.timeout(90):
            while len(ann.inbox) < 3:
                heard.clear()
                await heard.wait()
        assert not ann.asked_again, "no message had to be sent twice"


async def test_ten_of_ten_arrive_when_the_tables_were_lost_and_an_old_backup_came_back(
    tmp_path: Path, database: Postgres
) -> None:
    async with dyno(tmp_path, SESSION_STORE="postgres", DATABASE_URL=database.url()) as bot:
        await send(bot, ANN, ["before"], bot.ann)
        await bot.answers()
        await by_hand(bot)
        kept = await bot.host.metric(KEPT)
        await send(bot, ANN, LATER, bot.ann)
        assert await bot.host.metric(KEPT) == kept, "nothing newer than the snapshot may be kept"

        await bot.host.kill()
        base = await asyncpg.connect(database.url())
        await base.execute('DROP SCHEMA "beacon_session_default" CASCADE')
        await base.close()
        restored = await bot.starts_without_its_disk()
        assert restored["kind"] == "ratchets_dropped"
        assert restored["sessions_dropped"] >= 1
        await send(bot, ANN, AFTER, bot.ann)
        await bot.answers()


async def test_a_session_moves_from_the_disk_into_the_database_and_back_with_the_setting(
    tmp_path: Path, database: Postgres
) -> None:
    async with dyno(tmp_path, DATABASE_URL=database.url()) as bot:
        await send(bot, ANN, ["from a file"], bot.ann)
        await bot.answers()
        for store in ("postgres", "file"):
            assert await bot.host.stop() == 0
            bot.host.environment["SESSION_STORE"] = store
            await bot.host.start()
            await bot.host.until(lambda session: session["state"] == "connected")
            await send(bot, ANN, [f"now in {store}"], bot.ann)
            await bot.answers()
        assert [line["kind"] for line in bot.said("backup.restored")] == ["exact", "exact"]
        assert await bot.host.metric("whatsapp_backup_undecryptable_total") == 0

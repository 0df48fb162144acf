"""The session in a real PostgreSQL, used by real engines: whatsmeow's tables in the database itself."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
from prometheus_client import CollectorRegistry

from service.clock import SystemClock
from service.engine.exits import ExitCause
from service.engine.metrics import EngineMetrics
from service.engine.process import EngineProcess
from service.engine.protocol import (
    Connected,
    ConnectEnded,
    MessageReceived,
    QrCode,
    Receipt,
    ReceiptKind,
    Refused,
    Sent,
)
from service.engine.session import SessionFile
from service.engine.session_postgres import PostgresSession
from service.errors import StoreError, StoreUnavailable
from service.simulator.engine import ENGINE_ENTRY
from service.simulator.server import Simulator
from tests.component.engine.world import PATIENCE_S, ROOT, Engine, Told, World
from tests.component.postgres import Postgres
from tests.people import ANN, BEACON, BEN

PASSWORD = "secret-word"


class Bot:
    """An account whose session is in the database; its engines one after the other."""

    def __init__(self, simulator: Simulator, session: PostgresSession, phone: str) -> None:
        self.simulator = simulator
        self.session = session
        self.phone = phone
        self.engines: list[Engine] = []

    async def started(self) -> Engine:
        told, registry = Told(), CollectorRegistry()
        process = EngineProcess(
            entry=ENGINE_ENTRY,
            environment={**os.environ, "PYTHONPATH": str(ROOT), **self.simulator.environment()},
            on_event=told.hear,
            metrics=EngineMetrics(registry, "test"),
            clock=SystemClock(),
            session_dsn=self.session.dsn,
        )
        notes = SessionFile(self.session.path)
        engine = Engine(process, self.phone, notes, registry, self.simulator.proxy, told)
        self.engines.append(engine)
        await process.start()
        return engine

    async def online(self) -> Engine:
        """Connected, by a scan if it has to be."""
        await self.session.open()
        engine = await self.started()
        paired = await self.session.device_jid() is not None
        await engine.connect()
        if not paired:
            await self.simulator.scan((await engine.told(QrCode)).code, self.phone)
        await engine.told(Connected)
        return engine

    async def close(self) -> None:
        for engine in self.engines:
            if engine.process.pid is not None:
                await engine.process.kill()


@pytest.fixture
async def url(postgres: Postgres) -> str:
    return postgres.url(await postgres.create())


MakeBot = Callable[..., Bot]


@pytest.fixture
async def make(simulator: Simulator, url: str, tmp_path: Path) -> AsyncIterator[MakeBot]:
    bots: list[Bot] = []

    def bot(phone: str = BEACON, *, account: str = "default") -> Bot:
        path = tmp_path / account / "session.db"
        path.parent.mkdir(exist_ok=True)
        bots.append(Bot(simulator, PostgresSession(url, account=account, path=path), phone))
        return bots[-1]

    yield bot
    for each in bots:
        await each.close()


@pytest.fixture
async def people(simulator: Simulator, tmp_path: Path) -> AsyncIterator[World]:
    """Others, with sessions in files."""
    (tmp_path / "people").mkdir()
    world = World(simulator, tmp_path / "people")
    yield world
    await world.close()


async def test_a_killed_engine_is_followed_by_one_that_needs_no_scan(make: MakeBot, people: World) -> None:
    bot, ann = make(), await people.online(ANN)
    engine = await bot.online()
    await engine.sent(ann.jid, "one")
    await ann.told(MessageReceived, lambda it: it.text == "one")
    await ann.sent(engine.jid, "two")
    await engine.told(MessageReceived, lambda it: it.text == "two")

    assert engine.process.pid is not None
    os.kill(engine.process.pid, signal.SIGKILL)
    assert (await engine.process.wait()).cause is ExitCause.KILLED

    again = await bot.online()
    assert not any(isinstance(event, QrCode) for event in again.events)
    await again.sent(ann.jid, "three")
    await ann.told(MessageReceived, lambda it: it.text == "three")
    await ann.sent(again.jid, "four")
    await again.told(MessageReceived, lambda it: it.text == "four")


async def test_what_was_sent_is_found_by_its_secret_and_nothing_else_is(make: MakeBot, people: World) -> None:
    bot, ann = make(), await people.online(ANN)
    engine, secret = await bot.online(), os.urandom(32)
    sent = await engine.send(ann.jid, "one", secret=secret)
    assert isinstance(sent, Sent)
    assert await bot.session.find_message_id(secret) == sent.message_id
    assert await bot.session.find_message_id(os.urandom(32)) is None


async def test_accounts_in_one_database_do_not_see_each_other(make: MakeBot) -> None:
    one, two = make(account="one"), make(BEN, account="two-2")
    first, second = await one.online(), await two.online()
    await first.sent(second.jid, "hello")
    await second.told(MessageReceived, lambda it: it.text == "hello")
    assert (await one.session.device_jid() or "").startswith(BEACON)
    assert (await two.session.device_jid() or "").startswith(BEN)


async def test_the_password_is_in_no_argument_no_variable_no_file_and_no_line(
    make: MakeBot, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bot = make()
    engine = await bot.online()
    assert PASSWORD in bot.session.dsn
    process = psutil.Process(engine.process.pid)
    assert PASSWORD not in " ".join([*process.cmdline(), *process.environ().values()])
    beside = [path.name for folder in (Path.cwd(), tmp_path / "default") for path in folder.iterdir()]
    assert not [name for name in beside if "postgres:" in name]
    told = "".join(capfd.readouterr())
    assert "Successfully authenticated" in told
    assert PASSWORD not in told


async def test_an_engine_that_cannot_open_the_database_says_so_without_the_password(
    simulator: Simulator, postgres: Postgres, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    session = PostgresSession(postgres.url("not_there"), account="default", path=tmp_path / "session.db")
    bot = Bot(simulator, session, BEACON)
    try:
        engine = await bot.started()
        await engine.connect()
        ended = await engine.told(ConnectEnded)
        assert "not_there" in ended.text
        assert PASSWORD not in ended.text + "".join(capfd.readouterr())
    finally:
        await bot.close()
    with pytest.raises(StoreError, match="InvalidCatalogNameError 3D000") as refused:
        await session.open()
    assert not isinstance(refused.value, StoreUnavailable)


async def test_while_the_database_is_away_nothing_is_sent_and_what_comes_in_is_not_lost(
    people: World,
) -> None:
    with Postgres() as own:
        session = PostgresSession(own.url(), account="default", path=people.folder / "bot.db")
        bot = Bot(people.simulator, session, BEACON)
        try:
            ann, engine = await people.online(ANN), await bot.online()
            await engine.sent(ann.jid, "before")
            await ann.sent(engine.jid, "who is there?")
            await engine.told(MessageReceived)
            taken = people.simulator.accounts[BEACON].sent

            own.kill()
            refused = await engine.send(ann.jid, "meanwhile")
            assert isinstance(refused, Refused), refused
            assert people.simulator.accounts[BEACON].sent == taken
            with pytest.raises(StoreUnavailable):
                await session.device_jid()
            await ann.sent(engine.jid, "one")
            report = await asyncio.wait_for(engine.process.wait(), PATIENCE_S)
            assert (report.cause, report.returncode) == (ExitCause.CRASHED, 75)
            await ann.sent(engine.jid, "two")

            own.start()
            again = await bot.online()
            for text in ("one", "two"):
                await again.told(MessageReceived, lambda it, text=text: it.text == text)  # type: ignore[misc]
            await again.sent(ann.jid, "after")
            await ann.told(MessageReceived, lambda it: it.text == "after")
            asked = [it for it in ann.events if isinstance(it, Receipt) and it.receipt is ReceiptKind.RETRY]
            assert not asked, "the engine ended before it asked for anything again"
        finally:
            await bot.close()


async def test_a_database_that_was_brought_back_loses_its_ratchets_and_no_message(
    make: MakeBot, people: World, url: str
) -> None:
    bot, ann = make(), await people.online(ANN)
    engine = await bot.online()
    await engine.sent(ann.jid, "one")
    await ann.told(MessageReceived, lambda it: it.text == "one")
    kept = await _rows(url, "whatsmeow_sessions")
    for number in range(20):
        await engine.sent(ann.jid, f"undone {number}")
    before = bot.session.identity()
    await engine.process.stop()

    await _put_back(url, "whatsmeow_sessions", kept)
    assert await bot.session.open() > 0
    assert bot.session.identity() != before
    assert await bot.session.open() == 0, "once"

    engine = await bot.online()
    for number in range(10):
        await engine.sent(ann.jid, f"new {number}")
        await ann.told(MessageReceived, lambda it, text=f"new {number}": it.text == text)  # type: ignore[misc]


async def test_a_removed_session_is_another_one_and_begins_with_a_scan(make: MakeBot) -> None:
    bot = make()
    engine = await bot.online()
    first = bot.session.identity()
    await engine.process.stop()

    await asyncio.to_thread(bot.session.remove)
    assert await bot.session.device_jid() is None
    assert await bot.session.find_message_id(os.urandom(32)) is None
    assert bot.session.identity() != first
    engine = await bot.online()
    assert any(isinstance(event, QrCode) for event in engine.events)


async def test_a_forgotten_device_is_gone_and_the_session_keeps_its_name(make: MakeBot) -> None:
    bot = make()
    await bot.session.forget_device()  # there is no table yet, nor a schema
    engine = await bot.online()
    named = bot.session.identity()
    await engine.process.stop()
    await bot.session.forget_device()
    assert await bot.session.device_jid() is None
    await bot.session.open()
    assert bot.session.identity() == named


async def test_a_session_that_was_never_opened_has_no_device_and_no_name(url: str, tmp_path: Path) -> None:
    session = PostgresSession(url, account="default", path=tmp_path / "session.db")
    assert await session.device_jid() is None
    with pytest.raises(StoreUnavailable):
        session.identity()


async def test_a_role_that_may_only_use_its_own_schema_is_enough(
    postgres: Postgres, make: MakeBot, url: str
) -> None:
    base = await asyncpg.connect(url)
    await base.execute("CREATE ROLE narrow LOGIN PASSWORD 'secret-word'")
    await base.execute('CREATE SCHEMA "beacon_session_default" AUTHORIZATION narrow')
    await base.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    await base.close()
    bot = make()
    bot.session._url = url.replace("//postgres:", "//narrow:")
    await bot.online()
    assert await bot.session.device_jid() is not None


async def _rows(url: str, table: str) -> list[Any]:
    base = await asyncpg.connect(url, server_settings={"search_path": '"beacon_session_default"'})
    try:
        return [tuple(row) for row in await base.fetch(f"SELECT * FROM {table}")]
    finally:
        await base.close()


async def _put_back(url: str, table: str, rows: list[Any]) -> None:
    """As another server would have it that was brought back to an earlier state."""
    base = await asyncpg.connect(url, server_settings={"search_path": '"beacon_session_default"'})
    try:
        await base.execute(f"DELETE FROM {table}")
        await base.copy_records_to_table(table, records=rows)
        await base.execute("UPDATE beacon_session SET origin = 'another server'")
    finally:
        await base.close()

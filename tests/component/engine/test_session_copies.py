"""Real sessions go from PostgreSQL into a file and back, and real engines use them as if nothing had been."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import asyncpg

from service.backup.checks import check
from service.backup.session_rows import copy_in, copy_out
from service.backup.session_tables import SCHEMA
from service.backup.snapshot import take_snapshot
from service.engine.protocol import Connected, MessageReceived, QrCode, Receipt, ReceiptKind
from service.engine.session_postgres import PostgresSession
from service.simulator.server import Simulator
from tests.component.engine.test_session_postgres import Bot
from tests.component.engine.world import Engine, World
from tests.component.postgres import Postgres
from tests.people import ANN, BEACON

COLUMNS = """
    SELECT table_name::text, column_name::text, ordinal_position::int, udt_name::text, is_nullable::text,
           column_default::text
    FROM information_schema.columns WHERE table_schema = $1 AND table_name LIKE 'whatsmeow%'"""
RULES = """
    SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = $1::regnamespace AND conrelid::regclass::text LIKE 'whatsmeow%'"""
INDEXES = """
    SELECT replace(indexdef, schemaname || '.', '') FROM pg_indexes
    WHERE schemaname = $1 AND tablename LIKE 'whatsmeow%'"""


async def test_a_session_moves_into_a_file_and_back_and_no_message_has_to_be_asked_for_again(
    simulator: Simulator, postgres: Postgres, tmp_path: Path
) -> None:
    (tmp_path / "people").mkdir()
    people = World(simulator, tmp_path / "people")
    url = postgres.url(await postgres.create())
    session = PostgresSession(url, account="default", path=tmp_path / "notes" / "session.db")
    session.path.parent.mkdir()
    bot = Bot(simulator, session, BEACON)
    try:
        ann = await people.online(ANN)
        in_database = await bot.online()
        await _talk(in_database, ann, "in the database")
        await in_database.process.stop()

        file = people.folder / f"{BEACON}.db"
        async with session.connected() as base:
            await copy_out(base, file)
        assert check(file, expected_device=await session.device_jid(), before=None)
        in_file = await people.online(BEACON)
        await _talk(in_file, ann, "in a file")
        await people.leave(in_file)

        await asyncio.to_thread(take_snapshot, file, tmp_path / "copy.db")
        async with session.connected() as base, base.transaction():
            await copy_in(tmp_path / "copy.db", base)
        again = await bot.online()
        await _talk(again, ann, "in the database again")
        for engine in (in_file, again):
            assert not any(isinstance(event, QrCode) for event in engine.events)
        everything = [*ann.events, *in_database.events, *in_file.events, *again.events]
        assert not [it for it in everything if isinstance(it, Receipt) and it.receipt is ReceiptKind.RETRY]
    finally:
        await bot.close()
        await people.close()


async def test_our_tables_are_those_that_whatsmeow_makes_in_either_database(
    simulator: Simulator, postgres: Postgres, tmp_path: Path
) -> None:
    url = postgres.url(await postgres.create())
    session = PostgresSession(url, account="default", path=tmp_path / "session.db")
    bot, people = Bot(simulator, session, BEACON), World(simulator, tmp_path)
    try:
        await bot.online()
        ann = await people.online(ANN)
        with (
            closing(sqlite3.connect(ann.session.path)) as theirs,
            closing(sqlite3.connect(":memory:")) as ours,
        ):
            ours.executescript(SCHEMA)
            text = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY rowid"
            assert ours.execute(text).fetchall() == theirs.execute(text).fetchall()
    finally:
        await bot.close()
        await people.close()
    base = await asyncpg.connect(url)
    try:
        await base.execute("CREATE SCHEMA ours")
        seen = {}
        for schema in ("ours", "beacon_session_default"):
            await base.execute(f"SET search_path TO {schema}")
            if schema == "ours":
                await base.execute(SCHEMA)
            seen[schema] = [
                {tuple(row) for row in await base.fetch(query, schema)} for query in (COLUMNS, RULES, INDEXES)
            ]
        assert seen["ours"] == seen["beacon_session_default"]
        assert all(seen["ours"])
    finally:
        await base.close()


async def _talk(engine: Engine, ann: Engine, text: str) -> None:
    await engine.told(Connected)
    await engine.sent(ann.jid, text)
    await ann.told(MessageReceived, lambda it: it.text == text)
    await ann.sent(engine.jid, f"answer {text}")
    await engine.told(MessageReceived, lambda it: it.text == f"answer {text}")

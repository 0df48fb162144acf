"""A session goes from a file into PostgreSQL and comes out the same, whoever writes meanwhile."""

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from service.backup.checks import check
from service.backup.mirror import Mirror
from service.backup.model import Refusal
from service.backup.session_rows import copy_in, copy_out
from service.errors import BackupUnreadable, SnapshotRefused
from tests.component.postgres import Postgres
from tests.unit.backup.sessions import DEVICE
from tests.unit.backup.whole import WholeSession, rows_of

PAGE_BYTES = 4096


@pytest.fixture
async def url(postgres: Postgres) -> str:
    return postgres.url(await postgres.create())


@pytest.fixture
async def base(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, statement_cache_size=0)
    yield connection
    await connection.close()


@pytest.fixture
async def session(base: asyncpg.Connection, tmp_path: Path) -> WholeSession:
    """In a file and in the database."""
    made = WholeSession(tmp_path / "session.db").make()
    async with base.transaction():
        await copy_in(made.path, base)
    return made


async def test_every_row_comes_out_as_it_went_in(
    base: asyncpg.Connection, session: WholeSession, tmp_path: Path
) -> None:
    await copy_out(base, tmp_path / "copy.db")
    assert rows_of(tmp_path / "copy.db") == rows_of(session.path)
    assert all(rows_of(session.path).values()), "every table has rows"
    facts = check(tmp_path / "copy.db", expected_device=DEVICE, before=None)
    assert facts.rows == check(session.path, expected_device=DEVICE, before=None).rows
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600


async def test_the_same_session_makes_the_same_file(base: asyncpg.Connection, tmp_path: Path) -> None:
    WholeSession(tmp_path / "session.db").make()
    async with base.transaction():
        await copy_in(tmp_path / "session.db", base)
    await copy_out(base, tmp_path / "1.db")
    await base.execute("UPDATE whatsmeow_contacts SET full_name = full_name")  # moves every row
    await copy_out(base, tmp_path / "2.db")
    assert (tmp_path / "1.db").read_bytes() == (tmp_path / "2.db").read_bytes()


async def test_a_copy_of_a_session_that_is_written_to_is_of_one_moment(
    base: asyncpg.Connection, session: WholeSession, url: str, tmp_path: Path
) -> None:
    """Each transaction writes to the first and to the last table; a copy has both of it or neither."""
    writer = await asyncpg.connect(url)
    went_on = asyncio.Event()

    async def write() -> None:
        number = 0
        while True:
            number += 1
            async with writer.transaction():
                await writer.execute("UPDATE whatsmeow_device SET push_name = $1", str(number))
                await writer.execute("UPDATE whatsmeow_retry_buffer SET format = $1", str(number))
            went_on.set()

    writing = asyncio.create_task(write())
    seen = set()
    try:
        for number in range(8):
            went_on.clear()
            await went_on.wait()
            await copy_out(base, tmp_path / f"{number}.db")
            with closing(sqlite3.connect(tmp_path / f"{number}.db")) as copy:
                (first,) = copy.execute("SELECT push_name FROM whatsmeow_device").fetchone()
                last = {text for (text,) in copy.execute("SELECT format FROM whatsmeow_retry_buffer")}
            assert last == {first}
            seen.add(first)
        assert len(seen) == 8, "somebody wrote all the time"
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await writer.close()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("DROP TABLE whatsmeow_contacts", Refusal.DAMAGED),
        ("ALTER TABLE whatsmeow_sessions DROP COLUMN session", Refusal.DAMAGED),
        ("DELETE FROM whatsmeow_version", Refusal.NO_DEVICE),
        ("UPDATE whatsmeow_version SET version = 16", Refusal.UNKNOWN_SCHEMA),
    ],
)
async def test_what_is_no_whole_session_is_not_copied(
    base: asyncpg.Connection, session: WholeSession, tmp_path: Path, damage: str, reason: Refusal
) -> None:
    await base.execute(damage)
    with pytest.raises(SnapshotRefused) as refused:
        await copy_out(base, tmp_path / "copy.db")
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "misfit",
    [
        "UPDATE whatsmeow_contacts SET full_name = 'a' || char(0) || 'b'",
        "UPDATE whatsmeow_sessions SET session = 'text'",
        "UPDATE whatsmeow_privacy_tokens SET timestamp = 'soon'",
        "DROP TABLE whatsmeow_retry_buffer",
        "PRAGMA foreign_keys = OFF; DELETE FROM whatsmeow_app_state_version",
    ],
)
async def test_a_file_that_does_not_fit_changes_nothing(
    base: asyncpg.Connection, session: WholeSession, tmp_path: Path, misfit: str
) -> None:
    other = WholeSession(tmp_path / "other.db", seed=2).make()
    with closing(sqlite3.connect(other.path)) as database:
        database.executescript(misfit)
    with pytest.raises(BackupUnreadable):
        async with base.transaction():
            await copy_in(other.path, base)
    await copy_out(base, tmp_path / "copy.db")
    assert rows_of(tmp_path / "copy.db") == rows_of(session.path)


async def test_one_row_in_the_middle_changes_few_pages(base: asyncpg.Connection, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "mirror.db")
    large = WholeSession(tmp_path / "session.db").make(rows=1500)
    async with base.transaction():
        await copy_in(large.path, base)
    await copy_out(base, tmp_path / "1.db")
    mirror.lay_out(tmp_path / "1.db")

    await base.execute("""
        INSERT INTO whatsmeow_message_secrets VALUES
            ((SELECT jid FROM whatsmeow_device), 'chat_jid Ä 5', 'somebody', 'an id', 'a key');
        DELETE FROM whatsmeow_pre_keys WHERE key_id = 700;
        UPDATE whatsmeow_lid_map SET pn = 'another' WHERE lid = (SELECT max(lid) FROM whatsmeow_lid_map)""")
    await copy_out(base, tmp_path / "2.db")
    fresh, expected = _pages(tmp_path / "2.db"), rows_of(tmp_path / "2.db")
    mirror.lay_out(tmp_path / "2.db")

    assert rows_of(tmp_path / "2.db") == expected
    before = _pages(tmp_path / "1.db")
    assert len(fresh - before) > 60, "without it, all that follows would have moved"
    assert len(_pages(tmp_path / "2.db") - before) < 20

    await copy_out(base, tmp_path / "3.db")
    mirror.lay_out(tmp_path / "3.db")
    assert (tmp_path / "3.db").read_bytes() == (tmp_path / "2.db").read_bytes(), "nothing changed"


def test_a_damaged_mirror_is_replaced(tmp_path: Path) -> None:
    session = WholeSession(tmp_path / "session.db").make()
    expected = rows_of(session.path)
    (tmp_path / "mirror.db").write_bytes(b"SQLite format 3\0" + bytes(5000))
    mirror = Mirror(tmp_path / "mirror.db")
    mirror.lay_out(session.path)
    assert rows_of(session.path) == rows_of(tmp_path / "mirror.db") == expected


def _pages(path: Path) -> set[bytes]:
    data = path.read_bytes()
    return {data[at : at + PAGE_BYTES] for at in range(0, len(data), PAGE_BYTES)}

"""The session database, read from another process than the one that writes it."""

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from service.engine import session
from service.engine.session import SessionFile
from service.errors import DataDirUnusable, StoreError, StoreUnavailable

WRITER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute(sys.argv[2])
print("ready", flush=True)
sys.stdin.read()
"""


def modes(path: Path) -> tuple[str, str]:
    with closing(sqlite3.connect(path)) as database:
        (journal,) = database.execute("PRAGMA journal_mode").fetchone()
    return oct(path.stat().st_mode & 0o777), journal


def test_prepared_once_the_file_is_private_and_stays_in_wal_mode(tmp_path: Path) -> None:
    file = SessionFile(tmp_path / "session.db")
    file.prepare()
    file.prepare()

    assert modes(file.path) == ("0o600", "wal")


@pytest.mark.parametrize("left", [b"", b"0123", bytes(16), b"0123456789abcdef\n", b"0123456789abcde\xe9"])
def test_an_identity_that_is_damaged_gives_way_to_a_new_one(tmp_path: Path, left: bytes) -> None:
    file = SessionFile(tmp_path / "session.db")
    file.prepare()
    file.identity()
    (tmp_path / "session.id").write_bytes(left)
    renewed = file.identity()
    assert len(renewed) == 16
    assert file.identity() == renewed


def test_the_identity_lasts_until_the_database_is_begun_anew(tmp_path: Path) -> None:
    file = SessionFile(tmp_path / "session.db")
    file.prepare()
    first = file.identity()
    assert SessionFile(file.path).identity() == first

    file.renew_identity()
    second = file.identity()
    file.remove()
    file.prepare()
    third = file.identity()
    file.path.unlink()  # by hand
    file.prepare()
    assert len({first, second, third, file.identity()}) == 4


def test_a_file_that_others_may_read_is_made_private(tmp_path: Path) -> None:
    file = SessionFile(tmp_path / "session.db")
    file.path.touch(mode=0o644)
    file.prepare()

    assert modes(file.path) == ("0o600", "wal")


@pytest.mark.parametrize("name", ["what?.db", "no#1.db", "50%.db"])
def test_a_path_that_neonize_would_misread_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataDirUnusable, match="must not contain"):
        SessionFile(tmp_path / name).prepare()


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    file = SessionFile(tmp_path / "session.db")
    file.path.write_text("a diary, not a database " * 100)

    with pytest.raises(DataDirUnusable, match="file is not a database"):
        file.prepare()
    assert file.path.read_text().startswith("a diary")


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataDirUnusable, match=r"nowhere/session\.db"):
        SessionFile(tmp_path / "nowhere" / "session.db").prepare()


async def test_before_whatsmeow_has_opened_it_there_is_nothing(tmp_path: Path) -> None:
    file = SessionFile(tmp_path / "session.db")
    assert await file.device_jid() is None
    file.prepare()

    assert await file.device_jid() is None
    assert await file.find_message_id(bytes(32)) is None


async def test_a_broken_database_is_an_error_not_an_absence(tmp_path: Path) -> None:
    file = SessionFile(tmp_path / "session.db")
    file.path.write_bytes(b"x" * 4096)

    with pytest.raises(StoreError, match="not a database"):
        await file.device_jid()


async def test_a_database_locked_for_too_long_is_an_error_not_an_absence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LOCK_TIMEOUT_S", 0.05)
    file = SessionFile(tmp_path / "session.db")  # not prepared: in WAL mode nobody locks a reader out
    with closing(sqlite3.connect(file.path)) as database:
        database.execute("CREATE TABLE whatsmeow_device (jid TEXT)")
    writer = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WRITER, str(file.path), "BEGIN EXCLUSIVE"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert writer.stdout is not None
    await writer.stdout.readline()

    with pytest.raises(StoreUnavailable, match="locked"):
        await file.device_jid()
    await writer.communicate(b"")
    assert await file.device_jid() is None


def test_removed_it_leaves_nothing_but_that_it_was(tmp_path: Path) -> None:
    file = SessionFile(tmp_path / "session.db")
    for name in ("db", "db-wal", "db-shm", "db-journal", "notes", "notes.1"):
        (tmp_path / f"session.{name}").touch()
    (tmp_path / "queue.db").touch()
    file.remove()
    file.remove()

    assert {path.name for path in tmp_path.iterdir()} == {"queue.db", "session.cleared"}

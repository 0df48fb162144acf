"""A copy is of one moment, whoever writes meanwhile."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from service.backup.model import Refusal
from service.backup.snapshot import open_to_read, take_snapshot
from service.errors import BackupError, SnapshotRefused
from tests.unit.backup.sessions import Session

WRITER = """
import random, sqlite3, sys
rng = random.Random(int(sys.argv[2]))
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)
database.execute(f"PRAGMA wal_autocheckpoint = {rng.choice((5, 100, 1000))}")
turn = 1
while True:
    database.execute("BEGIN IMMEDIATE")
    database.execute("UPDATE even SET turn = ?", (turn,))
    for _ in range(rng.randint(0, 30)):
        database.execute("INSERT INTO log VALUES (?, ?)", (turn, rng.randbytes(rng.randint(0, 9000))))
    database.execute("DELETE FROM log WHERE turn < ?", (turn - rng.randint(3, 20),))
    database.execute("UPDATE total SET rows = (SELECT count(*) FROM log)")
    database.execute("COMMIT")
    turn += 1
    if turn == 3:
        print("writing", flush=True)
"""


@contextmanager
def writer(path: Path, seed: int) -> Iterator[None]:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE even (turn INTEGER, filler BLOB)")
        database.executemany("INSERT INTO even VALUES (0, ?)", [(bytes(700),)] * 200)
        database.execute("CREATE TABLE log (turn INTEGER, data BLOB)")
        database.execute("CREATE TABLE total AS SELECT 0 AS rows")
    command = [sys.executable, "-c", WRITER, str(path), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
            yield
            assert process.poll() is None, "the writer went on to the end"
        finally:
            process.kill()


@pytest.mark.parametrize("seed", range(3))
def test_beside_a_writer_in_another_process_each_copy_is_of_one_moment(tmp_path: Path, seed: int) -> None:
    turns = []
    with writer(tmp_path / "live.db", seed):
        for number in range(15):
            copy = tmp_path / f"{number}.db"
            take_snapshot(tmp_path / "live.db", copy)
            with open_to_read(copy) as database:
                assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                seen = database.execute("SELECT DISTINCT turn FROM even").fetchall()
                rows, last = database.execute("SELECT count(*), max(turn) FROM log").fetchone()
                assert len(seen) == 1
                assert database.execute("SELECT rows FROM total").fetchall() == [(rows,)]
                assert rows == 0 or last <= seen[0][0]
            turns.append(seen[0][0])
    assert turns == sorted(turns)
    assert turns[0] < turns[-1]


def test_a_copy_is_private_and_needs_no_file_beside_it(session: Session, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    take_snapshot(session.path, folder / "copy.db")

    assert [path.name for path in folder.iterdir()] == ["copy.db"]
    assert (folder / "copy.db").stat().st_mode & 0o777 == 0o600


def test_what_is_not_yet_in_the_main_file_is_in_the_copy(session: Session, tmp_path: Path) -> None:
    with closing(sqlite3.connect(session.path)) as database:
        database.execute("PRAGMA wal_autocheckpoint = 0")
        with database:
            database.execute("UPDATE whatsmeow_device SET platform = 'only in the log'")
        assert b"only in the log" not in session.path.read_bytes()
        take_snapshot(session.path, tmp_path / "copy.db")
    with open_to_read(tmp_path / "copy.db") as copy:
        assert copy.execute("SELECT platform FROM whatsmeow_device").fetchone() == ("only in the log",)


def test_a_page_lies_in_each_copy_where_it_lay_in_the_last(session: Session, tmp_path: Path) -> None:
    take_snapshot(session.path, tmp_path / "1.db")
    with closing(sqlite3.connect(session.path)) as database, database:
        database.execute("UPDATE whatsmeow_device SET platform = 'iphone_'")  # as long as before
    take_snapshot(session.path, tmp_path / "2.db")
    one, two = (tmp_path / "1.db").read_bytes(), (tmp_path / "2.db").read_bytes()
    differing = {at // 4096 for at in range(len(one)) if one[at] != two[at]}

    assert len(one) == len(two)
    assert len(differing) <= 2  # the row's page, and the counters on the first


@pytest.mark.parametrize("suffixes", [(), ("-shm",)], ids=["killed", "killed and moved without -shm"])
def test_what_a_killed_writer_had_committed_is_in_the_copy(tmp_path: Path, suffixes: tuple[str, ...]) -> None:
    live = tmp_path / "live.db"
    with writer(live, 1):
        pass
    assert live.with_name("live.db-wal").stat().st_size > 0
    for suffix in suffixes:
        live.with_name(live.name + suffix).unlink()
    take_snapshot(live, tmp_path / "copy.db")
    with open_to_read(tmp_path / "copy.db") as copy:
        (turn,) = copy.execute("SELECT DISTINCT turn FROM even").fetchone()
    assert turn >= 2


@pytest.mark.parametrize("data", [None, b"no database at all" * 500], ids=["missing", "other"])
def test_what_is_no_session_is_not_copied(tmp_path: Path, data: bytes | None) -> None:
    if data is not None:
        (tmp_path / "session.db").write_bytes(data)
    with pytest.raises(SnapshotRefused) as caught:
        take_snapshot(tmp_path / "session.db", tmp_path / "copy.db")
    assert caught.value.reason == (Refusal.DAMAGED if data else Refusal.NO_DEVICE)
    assert not (tmp_path / "copy.db").exists()


def test_a_place_that_cannot_be_written_is_not_the_sessions_fault(session: Session, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="No such file") as caught:
        take_snapshot(session.path, tmp_path / "missing" / "copy.db")
    assert not isinstance(caught.value, SnapshotRefused)

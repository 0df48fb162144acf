"""A log that lost its end is noticed, and one that a killed process left is not taken for such."""

import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from service.backup.wal import behind
from tests.unit.backup.damaging import damaged

WRITER = """
import os, random, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA journal_mode = WAL")
database.execute(f"PRAGMA wal_autocheckpoint = {sys.argv[2]}")
database.execute("PRAGMA cache_size = 5")
database.execute("CREATE TABLE IF NOT EXISTS kept (number INTEGER PRIMARY KEY, data BLOB)")
rng = random.Random(int(sys.argv[3]))
for number in range(10**6):
    database.execute("BEGIN")
    for _ in range(rng.choice((1, 1, 30))):
        row = (rng.randrange(200), os.urandom(rng.choice((50, 3000))))
        database.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", row)
    database.execute("COMMIT")
    print(number, flush=True)
"""


def killed(path: Path, *, checkpoint_at: int, after: int, seed: int) -> None:
    """What a process leaves that was killed while it wrote."""
    arguments = [sys.executable, "-c", WRITER, str(path), str(checkpoint_at), str(seed)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(after):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)


def rows(path: Path) -> list[tuple[int, bytes]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT * FROM kept ORDER BY number").fetchall()


def copied(path: Path, folder: Path) -> Path:
    folder.mkdir()
    for suffix in ("", "-wal", "-shm"):
        shutil.copyfile(path.with_name(path.name + suffix), folder / (path.name + suffix))
    return folder / path.name


@pytest.mark.parametrize("checkpoint_at", [0, 20, 1000])
def test_what_a_killed_process_left_is_all_there(tmp_path: Path, checkpoint_at: int) -> None:
    path = tmp_path / "session.db"
    cut = 0
    for turn in range(8):
        killed(path, checkpoint_at=checkpoint_at, after=5 + 9 * turn, seed=turn)
        cut += behind(path)
    assert cut <= 2, "only one that was in the middle of a write may look so"


def test_what_was_closed_in_order_is_all_there(tmp_path: Path) -> None:
    path = tmp_path / "session.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE kept (number INTEGER PRIMARY KEY, data BLOB)")
    assert not behind(path)
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        database.execute("SELECT * FROM kept").fetchall()
        assert not behind(path), "who reads makes an empty log"
    assert not behind(tmp_path / "none.db")


@pytest.mark.parametrize("seed", range(60))
def test_whenever_committed_rows_are_gone_it_is_noticed(tmp_path: Path, left: Path, seed: int) -> None:
    rng = Random(seed)
    path = copied(left, tmp_path / "damaged")
    log = path.with_name(path.name + "-wal")
    if rng.random() < 0.2:
        log.unlink()
    else:
        log.write_bytes(damaged(log.read_bytes(), rng))
    noticed = behind(path)
    assert noticed or rows(path) == rows(copied(left, tmp_path / "whole"))


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A killed process's database: its log had been begun anew a few times."""
    path = tmp_path_factory.mktemp("left") / "session.db"
    for seed in range(20):
        killed(path, checkpoint_at=50, after=40, seed=seed)
        if not behind(path):
            return path
    raise AssertionError("always in the middle of a write")

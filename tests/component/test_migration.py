"""`beacon migrate` and `beacon queue move` do what they say, and say what they did."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry

from service.clock import SystemClock
from service.datadir import DataDir
from service.errors import DataDirInUse, SettingsError, StoreTooNew, StoreUnavailable
from service.migration import Told, migrate, move
from service.queue.metrics import QueueMetrics
from service.queue.migrations import migrations
from service.queue.model import Query, State
from service.queue.postgres import PostgresStore
from service.queue.sqlite import SqliteStore
from service.queue.store import QueueStore
from tests.clock import FakeClock
from tests.component.postgres import Postgres
from tests.component.queue.support import keep, to
from tests.people import ANN, BEN


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DATA_DIR of the command."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return tmp_path / "data"


@pytest.fixture
def url(postgres: Postgres, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """DATABASE_URL of the command: an empty database."""
    url = postgres.url(asyncio.run(postgres.create()))
    monkeypatch.setenv("DATABASE_URL", url)
    return url


def run(command: click.Command, *arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def told(result: Result) -> dict[str, Any]:
    """The JSON object on the last line of stdout."""
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return answer


def sqlite_store(path: Path) -> SqliteStore:
    metrics = QueueMetrics(CollectorRegistry(), "default")
    return SqliteStore(path, account="default", metrics=metrics, clock=SystemClock())


def postgres_store(url: str) -> PostgresStore:
    metrics = QueueMetrics(CollectorRegistry(), "default")
    return PostgresStore(url, account="default", metrics=metrics, clock=SystemClock())


async def kept_in(store: QueueStore, *, messages: int) -> list[str]:
    await store.open()
    try:
        kept = await keep(store, *(to(ANN if i % 2 else BEN, str(i)) for i in range(messages)), now=1.0)
    finally:
        await store.close()
    return [message.id for message in kept]


async def ids_in(store: QueueStore) -> list[str]:
    await store.open()
    try:
        return [message.id for message in (await store.find(Query(limit=1000))).messages[::-1]]
    finally:
        await store.close()


# --- migrate ------------------------------------------------------------------------------------------


def test_migrate_makes_the_schema_once_in_sqlite(data_dir: Path) -> None:
    first, again = run(migrate, "--json"), run(migrate, "--json")
    newest = max(migrations())
    assert told(first) == {
        "ok": True, "store": "sqlite", "schema": newest, "applied": list(range(1, newest + 1)),
    }  # fmt: skip
    assert told(again) == {"ok": True, "store": "sqlite", "schema": newest, "applied": []}
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert run(migrate).stdout == f"sqlite: schema {newest} (applied: nothing to do)\n"


def test_migrate_makes_the_schema_once_in_postgresql(url: str, data_dir: Path) -> None:
    first, again = told(run(migrate, "--json")), told(run(migrate, "--json"))
    assert (first["store"], first["applied"][0], again["applied"]) == ("postgres", 1, [])
    assert not data_dir.exists(), "it may run beside the service that still holds DATA_DIR"


def test_migrate_refuses_a_newer_schema_and_says_so(data_dir: Path) -> None:
    data_dir.mkdir()
    with closing(sqlite3.connect(data_dir / "queue.db")) as newer:
        newer.execute("PRAGMA user_version = 9999")
    result = run(migrate, "--json")
    assert result.exit_code != 0
    assert isinstance(result.exception, StoreTooNew)
    assert told(result)["ok"] is False
    assert "9999" in told(result)["error"]


def test_migrate_does_not_touch_what_a_running_service_uses(data_dir: Path) -> None:
    with DataDir(data_dir):
        result = run(migrate)
    assert isinstance(result.exception, DataDirInUse)


def test_a_database_that_is_away_is_told_without_its_url(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://user:secret@127.0.0.1:1/none")
    for command, arguments in ((migrate, ["--json"]), (move, ["--to", "postgres", "--json"])):
        result = run(command, *arguments)
        assert isinstance(result.exception, StoreUnavailable)
        assert "secret" not in result.output
        assert told(result)["ok"] is False


# --- move ---------------------------------------------------------------------------------------------


def test_a_queue_is_moved_and_the_old_file_kept(url: str, data_dir: Path) -> None:
    data_dir.mkdir()
    kept = asyncio.run(kept_in(sqlite_store(data_dir / "queue.db"), messages=7))
    result = run(move, "--to", "postgres", "--json")

    assert result.exit_code == 0
    assert told(result) == {
        "ok": True, "messages": 7, "present": 0, "files": 0, "chats": 0, "kept_as": "queue.db.moved",
        "other_accounts": [],
    }  # fmt: skip
    assert asyncio.run(ids_in(postgres_store(url))) == kept
    assert sorted(file.name for file in data_dir.iterdir()) == ["beacon.lock", "queue.db.moved"]

    again = run(move, "--to", "postgres")
    assert (again.exit_code, again.stdout) == (0, "0 messages carried (0 were there), 0 files, 0 chats\n")
    assert asyncio.run(ids_in(postgres_store(url))) == kept


def test_a_queue_in_use_is_not_moved(url: str, data_dir: Path) -> None:
    data_dir.mkdir()
    kept = asyncio.run(kept_in(sqlite_store(data_dir / "queue.db"), messages=2))
    with DataDir(data_dir):
        result = run(move, "--to", "postgres", "--json")
    assert isinstance(result.exception, DataDirInUse)
    assert told(result)["ok"] is False
    assert asyncio.run(ids_in(sqlite_store(data_dir / "queue.db"))) == kept


def test_moving_needs_somewhere_to_move_to(data_dir: Path) -> None:
    result = run(move, "--to", "postgres")
    assert isinstance(result.exception, SettingsError)
    assert "DATABASE_URL" in str(result.exception)
    assert run(move).exit_code == 2, "--to is not guessed"


def test_messages_of_another_account_are_mentioned(
    url: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir.mkdir()
    asyncio.run(kept_in(sqlite_store(data_dir / "queue.db"), messages=1))
    monkeypatch.setenv("ACCOUNT", "second")
    result = run(move, "--to", "postgres", "--json")
    assert (told(result)["messages"], told(result)["other_accounts"]) == (0, ["default"])
    assert "set ACCOUNT" in result.stderr
    assert (data_dir / "queue.db").exists()


def test_progress_is_shown_once_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    clock = FakeClock()
    tell = Told(clock)
    for done in range(0, 5000, 500):
        tell(done, 5000)
        clock.advance(0.4)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "beacon: 1,500 of 5,000 messages carried",
        "beacon: 3,000 of 5,000 messages carried",
        "beacon: 4,500 of 5,000 messages carried",
    ]


def test_a_moved_queue_is_whole_in_its_counts(url: str, data_dir: Path) -> None:
    data_dir.mkdir()
    asyncio.run(kept_in(sqlite_store(data_dir / "queue.db"), messages=1200))
    assert run(move, "--to", "postgres").exit_code == 0

    async def counts() -> int:
        store = postgres_store(url)
        await store.open()
        try:
            return store.counts()[State.QUEUED]
        finally:
            await store.close()

    assert asyncio.run(counts()) == 1200

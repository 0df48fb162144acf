"""What SQLite adds to the promises: the file, its commits, and trouble with the disk."""

import asyncio
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from service.errors import StoreTooNew, StoreUnavailable
from service.queue.model import Message, Moves, State
from service.queue.sqlite_transaction import Transaction
from tests.component.queue.conftest import MakeStore
from tests.component.queue.support import DEADLINE_S, claimed, keep, sqlite_store, to, value
from tests.people import ANN, BEN
from tests.unit.queue.messages import text_of

ROOT = Path(__file__).parents[3]


# --- the file -----------------------------------------------------------------------------------------


async def test_the_file_is_for_its_owner_only_and_never_loses_a_commit(database: Path) -> None:
    store = sqlite_store(database)
    await store.open()
    try:
        await keep(store, to(ANN), now=1.0)
        for file in database.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
        with closing(sqlite3.connect(database)) as look:
            assert look.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        await store.close()
    assert [file.name for file in database.parent.iterdir()] == ["queue.db"], "the WAL is folded in"


async def test_every_commit_is_synced(database: Path) -> None:
    store = sqlite_store(database)
    await store.open()
    try:
        assert store._writer is not None
        level = await store._writer.submit(lambda t: t._execute("PRAGMA synchronous").fetchone())
        assert level == (2,), "FULL"
    finally:
        await store.close()


async def test_a_commit_that_may_wait_is_shared_with_the_next_that_may_not(database: Path) -> None:
    store = sqlite_store(database)
    await store.open()
    try:
        await keep(store, to(ANN), now=1.0)
        claim = await claimed(store, now=2.0)
        commits: list[Moves] = []
        store.subscribe(commits.append)
        assert store._writer is not None
        completing = store._writer.submit(
            lambda t: t.complete(claim, whatsapp_id="3EB0", now=3.0), within_s=3600
        )
        sending = await store.get(claim.message.id)  # answered beside the writer, which waits
        assert sending is not None
        assert sending.state is State.SENDING
        assert not completing.done()
        await keep(store, to(BEN), now=4.0)
        assert (await completing).state is State.SENT
        assert commits == [{(State.SENDING, State.SENT): 1, (None, State.QUEUED): 1}]
    finally:
        await store.close()


async def test_a_commit_that_may_wait_comes_in_time_though_nobody_shares_it(database: Path) -> None:
    store = sqlite_store(database)
    await store.open()
    try:
        assert store._writer is not None
        async with asyncio.timeout(DEADLINE_S):
            assert await store._writer.submit(Transaction.next_due, within_s=0.01) is None
            last = store._writer.submit(Transaction.next_due, within_s=3600)
            await store.close()
            assert await last is None, "an end waits for nobody, either"
    finally:
        await store.close()


async def test_what_is_submitted_in_one_turn_of_the_event_loop_shares_a_commit(database: Path) -> None:
    store = sqlite_store(database)
    await store.open()
    try:
        commits: list[Moves] = []
        store.subscribe(commits.append)
        await asyncio.gather(*(store.enqueue([to(ANN)], now=1.0) for _ in range(9)))
        assert commits == [{(None, State.QUEUED): 9}]
    finally:
        await store.close()


async def test_a_newer_schema_is_refused_and_left_alone(database: Path) -> None:
    with closing(sqlite3.connect(database)) as newer:
        newer.execute("PRAGMA user_version = 9999")
    with pytest.raises(StoreTooNew, match="9999"):
        await sqlite_store(database).open()
    with closing(sqlite3.connect(database)) as look:
        assert look.execute("PRAGMA user_version").fetchone() == (9999,)
        assert look.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)


async def test_what_is_no_database_is_unavailable_and_left_alone(database: Path) -> None:
    database.write_bytes(b"something else" * 1000)
    with pytest.raises(StoreUnavailable, match="not a database"):
        await sqlite_store(database).open()
    assert database.read_bytes() == b"something else" * 1000


async def test_a_missing_folder_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="No such file"):
        await sqlite_store(tmp_path / "missing" / "queue.db").open()


async def test_a_store_that_is_not_open_is_unavailable(database: Path) -> None:
    store = sqlite_store(database)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await store.enqueue([to(ANN)], now=1.0)
        with pytest.raises(StoreUnavailable):
            await store.get("id")
        await store.close()


# --- trouble ------------------------------------------------------------------------------------------


async def test_somebody_elses_lock_is_unavailable_and_changes_nothing(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.queue.sqlite_connection.BUSY_TIMEOUT_S", 0.05)
    registry = CollectorRegistry()
    store = sqlite_store(database, registry)
    await store.open()
    try:
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answers = await asyncio.gather(
                *(store.enqueue([to(ANN)], now=1.0) for _ in range(3)), return_exceptions=True
            )
            assert {type(answer) for answer in answers} == {StoreUnavailable}
            assert store.counts()[State.QUEUED] == 0
            other.execute("ROLLBACK")
        await keep(store, to(ANN), now=1.0)
        assert store.counts()[State.QUEUED] == 1
        assert value(registry, "whatsapp_queue_store_errors_total", reason="unavailable") == 3
    finally:
        await store.close()


async def test_a_write_that_breaks_a_rule_harms_no_other(database: Path) -> None:
    store = sqlite_store(database)
    await store.open()
    try:
        outcomes = await asyncio.gather(
            store.enqueue([to(ANN, "1")], now=1.0),
            store.enqueue([to(ANN, "2", priority=11)], now=1.0),
            store.enqueue([to(ANN, "3")], now=1.0),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [list, StoreUnavailable, list]
        assert store.counts()[State.QUEUED] == 2
        assert text_of((await claimed(store, now=1.0)).message) == "1"
    finally:
        await store.close()


async def test_what_was_undone_because_of_another_is_written_all_the_same(database: Path) -> None:
    store = sqlite_store(database)
    await store.open()
    try:
        await keep(store, to(ANN), now=1.0)
        claim = await claimed(store, now=2.0)
        sent, refused = await asyncio.gather(
            store.complete(claim, whatsapp_id="w1", now=3.0),
            store.enqueue([to(ANN, priority=11)], now=3.0),
            return_exceptions=True,
        )
        assert isinstance(refused, StoreUnavailable)
        assert isinstance(sent, Message)
        assert await store.get(sent.id) == sent
        assert (await store.acquaintance(sent.chat)).first_sent_at == 3.0
        assert store.counts()[State.SENT] == 1
    finally:
        await store.close()


def run(module: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"tests.component.queue.{module}", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


async def test_a_full_disk_refuses_what_does_not_fit_and_keeps_what_was_accepted(database: Path) -> None:
    with run("fills_the_disk", str(database), str(600 * 1024)) as process:
        assert process.stdout is not None
        told = json.loads(await asyncio.to_thread(process.stdout.read))
    assert process.returncode == 0
    assert told["accepted"], "some fitted"
    assert told["counted_when_full"] == len(told["accepted"])
    assert told["readable_when_full"]
    assert "queue database" in told["error"]
    assert told["errors_counted"] == 1

    store = sqlite_store(database)
    await store.open()
    try:
        assert store.counts()[State.QUEUED] == len(told["accepted"]) + 1
        for message_id in (*told["accepted"], told["after"]):
            assert await store.get(message_id) is not None
    finally:
        await store.close()


@pytest.mark.parametrize("seed", range(3))
async def test_what_was_answered_survives_sigkill(database: Path, seed: int) -> None:
    enough = Random(seed).randint(20, 300)
    told: list[tuple[str, str]] = []
    with run("writes_until_killed", str(database)) as process:
        assert process.stdout is not None
        while len(told) < enough:
            line = await asyncio.to_thread(process.stdout.readline)
            told.append((line.split()[0], line.split()[1]))
        process.send_signal(signal.SIGKILL)
        told += [(line.split()[0], line.split()[1]) for line in process.stdout if line.endswith("\n")]

    store = sqlite_store(database)
    await store.open()
    try:
        with closing(sqlite3.connect(database)) as look:
            assert look.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            written = dict(look.execute("SELECT state, count(*) FROM message GROUP BY state"))
        assert {state.value: n for state, n in store.counts().items() if n} == written
        for what, message_id in told:
            message = await store.get(message_id)
            assert message is not None, f"{what} {message_id}, and it is gone"
            if what == "claimed":
                assert message.state in {State.SENDING, State.SENT}
        orphans = await store.orphans(worker="new")
        assert len(orphans) == written.get("sending", 0) <= 1
    finally:
        await store.close()


async def test_reading_does_not_wait_for_writers(make_store: MakeStore, database: Path) -> None:
    store = make_store()
    await store.open()
    try:
        (kept,) = await keep(store, to(ANN), now=1.0)
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await store.get(kept.id) == kept
            other.execute("ROLLBACK")
    finally:
        await store.close()

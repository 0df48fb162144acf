"""SQLite's schema: how it comes about, what it refuses, and that no statement scans it."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from service.queue.migrations import migrate, migrations, statements
from service.queue.model import Cooldown, Cooling, Query, SendResult, State
from service.queue.sqlite_connection import connect, connect_reader
from service.queue.sqlite_transaction import Transaction
from tests.component.queue.support import BROKEN_RULES, claimed, keep, sqlite_store, to
from tests.people import ANN, BEN, CLEO
from tests.unit.queue.messages import text_of


def test_a_migration_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {**migrations(), 9000: "CREATE TABLE extra (a) STRICT;"}
    monkeypatch.setattr("service.queue.migrations.migrations", lambda: broken)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        with pytest.raises(sqlite3.Error):
            migrate(connection)
        assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
        assert connection.execute("PRAGMA user_version").fetchone() == (0,)


def test_migrations_are_applied_once() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        before = connection.execute("SELECT name, sql FROM sqlite_schema").fetchall()
        migrate(connection)
        assert connection.execute("SELECT name, sql FROM sqlite_schema").fetchall() == before
        assert connection.execute("PRAGMA user_version").fetchone() == (max(migrations()),)


def schema(connection: sqlite3.Connection, number: int) -> None:
    """Apply the migrations up to this one."""
    for step in range(1, number + 1):
        for statement in statements(migrations()[step]):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {number}")


async def test_messages_of_the_first_schema_are_read_by_this_one(database: Path) -> None:
    content = json.dumps({"file": {"sha256": "f", "media_type": "image/png", "size_bytes": 1}})
    with closing(sqlite3.connect(database, isolation_level=None)) as first:
        schema(first, 1)
        first.executemany(
            """INSERT INTO message (
                   id, account, chat, content_type, content, priority, on_unknown, max_attempts, state,
                   attempts, secret, accepted_at, due_at, expires_at)
               VALUES (?, 'default', 'c', ?, ?, 5, 'resend', 10, 'queued', 0, zeroblob(32), 1.0, 1.0, 9.0)""",
            [("m", "text", '{"text":"hello"}'), ("p", "image", content), ("gone", "text", '{"text":""}')],
        )
        first.execute("INSERT INTO lane VALUES ('default', 'c', 1, 5, 'ready', 1.0)")
        first.execute("INSERT INTO tally VALUES ('default', 'queued', 2)")
        first.execute("DELETE FROM message WHERE id = 'gone'")
    store = sqlite_store(database)
    await store.open()
    try:
        message, picture = await store.get("m"), await store.get("p")
        assert message is not None
        assert (text_of(message), message.resends) == ("hello", 0)
        assert picture is not None
        assert (await claimed(store, now=2.0)).message.id == "m"
        (new,) = await keep(store, to(ANN), now=2.0)
        assert new.seq == 4, "no number is given twice, though its message is gone"
        with closing(sqlite3.connect(database)) as look:
            assert look.execute("SELECT file FROM message ORDER BY seq").fetchall() == [
                (None,),
                ("f",),
                (None,),
            ]
    finally:
        await store.close()


def test_the_rules_of_the_schema_were_not_loosened_when_they_were_made_cheap() -> None:
    before = _allowed(2, content_type="text")
    assert len(before) == 52
    assert _allowed(3, resends=0) == before


def _allowed(number: int, **also: object) -> set[tuple[str, tuple[bool, ...]]]:
    """Of every state with every choice of what is NULL, those that a schema allows."""
    values: dict[str, object] = {
        "worker": "w", "claim_token": 1, "claimed_at": 1.0, "sent_at": 1.0, "whatsapp_id": "w1",
        "delivered_at": 1.0, "read_at": 1.0, "finished_at": 1.0,
    }  # fmt: skip
    rest = {
        "id": "i", "account": "a", "chat": "c", "content": "{}", "priority": 5, "on_unknown": "hold",
        "max_attempts": 1, "attempts": 0, "secret": bytes(32), "accepted_at": 1.0, "due_at": 1.0,
        "expires_at": 1.0, **also,
    }  # fmt: skip
    names = ("state", *values, *rest)
    insert = f"INSERT INTO message ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    found = set()
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        schema(connection, number)
        for state, given in product((*State, "lost"), product((False, True), repeat=len(values))):
            chosen = [
                value if is_given else None for value, is_given in zip(values.values(), given, strict=True)
            ]
            with suppress(sqlite3.IntegrityError):
                connection.execute(insert, (state, *chosen, *rest.values()))
                connection.execute("DELETE FROM message")
                found.add((str(state), given))
    return found


def test_migrations_are_numbered_without_gaps() -> None:
    assert sorted(migrations()) == list(range(1, len(migrations()) + 1))
    assert all(statements(sql) for sql in migrations().values())


# --- the schema ---------------------------------------------------------------------------------------


@pytest.fixture
def connection() -> sqlite3.Connection:
    """A migrated database in memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    return connection


@pytest.mark.parametrize(
    "change",
    [
        *BROKEN_RULES,
        "secret = x'00'",
        "content = 'no json'",
        "due_at = 'tomorrow'",
    ],
)
def test_the_schema_refuses_what_the_state_machine_would_never_do(
    connection: sqlite3.Connection, change: str
) -> None:
    with closing(connection):
        Transaction(connection, "default").enqueue([to(ANN)], now=1.0)
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(f"UPDATE message SET {change}")


def test_no_statement_of_the_queue_scans_a_table(connection: sqlite3.Connection) -> None:
    """EXPLAIN QUERY PLAN of every statement that a message's whole life executes."""
    asked: set[str] = set()
    with closing(connection):
        connection.set_trace_callback(asked.add)
        _live_a_life(Transaction(connection, "default"))
        connection.set_trace_callback(None)
        assert len(asked) > 60
        for statement in sorted(asked):
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
            assert not [step for step in plan if "SCAN" in step or "TEMP B-TREE" in step], (statement, plan)
            if "message_chat" in "".join(plan):  # it holds the whole history: only a listing may walk there
                assert "INDEXED BY message_chat" in statement, (statement, plan)


@pytest.mark.parametrize(
    ("fair", "step"),
    [(False, "SEARCH lane USING INDEX lane_ready (account=?)"), (True, "MERGE (UNION ALL)")],
)
def test_a_claim_reads_heads_in_the_order_of_their_index(
    connection: sqlite3.Connection, *, fair: bool, step: str
) -> None:
    """The head is the first entry of the index, so what stands behind it costs nothing."""
    asked: list[str] = []
    with closing(connection):
        transaction = Transaction(connection, "default")
        transaction.enqueue([to(ANN)], now=1.0)
        connection.set_trace_callback(asked.append)
        transaction.claim(worker="w", now=1.0, limit=1, fair=fair)
        connection.set_trace_callback(None)
        (heads,) = [statement for statement in asked if "turn = 'ready' AND NOT EXISTS" in statement]
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {heads}")]
        assert plan[0].startswith(step), plan
        assert not [step for step in plan if "SCAN" in step or "TEMP B-TREE" in step], plan


def _live_a_life(queue: Transaction) -> None:
    queue.enqueue(
        [
            to(ANN, idempotency_key="k"), to(ANN), to(ANN), to(ANN), to(ANN), to(ANN),
            to(BEN, not_before=2.0), to(CLEO, expires_at=3.0),
        ],
        now=1.0,
    )  # fmt: skip
    queue.files.keep("f", b"bytes", now=1.0)
    queue.enqueue([to(ANN, idempotency_key="k")], now=1.0)
    claims, _ = queue.claim(worker="w", now=2.0, limit=6, fair=False)
    queue.receive(["w1"], state=State.DELIVERED, at=2.0, now=2.0)
    queue.complete(claims[0], whatsapp_id="w1", now=2.0)
    queue.fail(claims[1], result=SendResult.RETRYABLE, error="e", retry_at=9.0, now=2.0)
    queue.release(claims[2], now=2.0)
    unknown = queue.mark_unknown(claims[3], whatsapp_id="w2", error="e", now=2.0)
    queue.unknowns()
    queue.resolve_unknown(unknown.id, now=2.0)
    queue.orphans(worker="other")
    queue.receive(["w2"], state=State.READ, at=2.0, now=2.0)
    queue.postpone(claims[4], until=3.0, now=2.0)
    queue.complete(claims[5], whatsapp_id="w3", now=2.0)
    queue.resend("w3", now=2.0)
    queue.next_due()
    _step_in(queue)
    queue.expire(now=5.0)
    queue.claim(worker="w", now=5.0, limit=1, fair=True)
    queue.finish()
    queue.tallies()
    queue.oldest_queued_at()
    queue.prune(now=1e9)
    queue.files.prune(now=1e9)


def _step_in(queue: Transaction) -> None:
    (one,) = queue.enqueue([to(CLEO, expires_at=1e6)], now=2.0)
    queue.hold(one.message.id, now=2.0)
    queue.requeue(one.message.id, now=2.0)
    queue.cancel(one.message.id, now=2.0)
    queue.requeue_dead(after=0, now=2.0)
    queue.adopt([replace(one.message, id="adopted", idempotency_key="a")], now=2.0)
    for state in State:
        queue.find(Query(states=frozenset({state}), limit=2))
    queue.find(Query())
    queue.find(Query(chat=one.message.chat, limit=2))
    queue.find(Query(chat=one.message.chat, states=frozenset({State.DEAD})))
    queue.files.read("f")
    queue.pacing.heard("c", at=2.0)
    queue.pacing.acquaintance("c")
    queue.pacing.strangers_since(1.0)
    queue.pacing.cool(Cooling.STRANGERS, Cooldown(5.0, 1))
    queue.pacing.cooldowns()


@pytest.mark.parametrize(
    "steps", [(Transaction.hold, Transaction.requeue), (Transaction.requeue, Transaction.hold)]
)
def test_a_page_shows_one_moment_though_messages_move_meanwhile(
    database: Path, steps: tuple[Callable[..., object], ...]
) -> None:
    """In whichever order the states are looked at, without a moment of its own one of them shows nothing."""
    with closing(connect(database)) as writing, closing(connect_reader(database)) as reading:
        migrate(writing)
        writer = Transaction(writing, "default")
        (one,) = writer.enqueue([to(ANN)], now=1.0)

        def move(statement: str) -> None:
            if statement.startswith("SELECT"):
                steps[len(moved)](writer, one.message.id, now=1.0)
                moved.append(statement)

        moved: list[str] = []
        reading.set_trace_callback(move)
        page = Transaction(reading, "default").find(Query(states=frozenset({State.QUEUED, State.HELD})))
    assert len(moved) == 2
    assert [message.id for message in page.messages] == [one.message.id]

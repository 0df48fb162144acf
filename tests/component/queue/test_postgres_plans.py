"""What PostgreSQL makes of the queue's statements: each stays on its index, however long the queue is."""

import json
import re

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from service.queue import (
    postgres_changes,
    postgres_claim,
    postgres_operations,
    postgres_rows,
    postgres_settle,
    postgres_transaction,
    postgres_turn,
)
from service.queue.metrics import QueueMetrics
from service.queue.postgres import PostgresStore
from tests.clock import FakeClock
from tests.component.postgres import Postgres
from tests.component.queue.support import keep, to

HOT = {
    "oldest": (postgres_transaction._NUMBERS, "beacon_message_state", "beacon_tally_pkey"),
    "lanes": (
        postgres_transaction._SETTLE_LANES,
        "beacon_message_line",
        "beacon_lane_pkey",
    ),
    "requeue dead": (postgres_changes._WHERE_DEAD, "beacon_message_state"),
    "late": (postgres_claim.LATE, "beacon_message_number"),
    "settle": (postgres_settle._HELD, "beacon_message_number", "beacon_early_receipt_pkey"),
    "receipt": (postgres_operations._BY_WHATSAPP_ID, "beacon_message_whatsapp_id"),
    "update": (postgres_rows._update(("state", "worker", "claim_token")), "beacon_message_number"),
    "settle unread": (
        postgres_rows._update(("state", "whatsapp_id"), look_for_receipt=True),
        "beacon_message_number",
        "beacon_early_receipt_pkey",
    ),
    "change": (postgres_changes._BY_SEQ, "beacon_message_number"),
    "resend": (postgres_changes._WHERE_WHATSAPP_ID, "beacon_message_whatsapp_id"),
    "unknowns": (postgres_changes.UNKNOWNS, "beacon_message_state"),
    "orphans": (postgres_changes.ORPHANS, "beacon_message_sending"),
    "get": (postgres_changes.GET, "beacon_message_pkey"),
    "next due": (postgres_changes.NEXT_DUE, "beacon_lane_waiting"),
    "list": (postgres_changes.FIND_STATES, "beacon_message_state"),
    "list of a chat": (postgres_changes.FIND_CHAT, "beacon_message_chat"),
    "expire": (postgres_changes._WHERE_EXPIRED, "beacon_message_expiry"),
    "forget receipts": (postgres_changes._EARLY_FORGET, "beacon_early_receipt_kept"),
    "prune": (postgres_changes._FORGET, "beacon_message_finished", "beacon_message_number"),
}


@pytest.mark.parametrize("analysed", [False, True], ids=["never analysed", "analysed"])
async def test_no_statement_leaves_its_index_with_fifty_thousand_messages(
    postgres: Postgres, clock: FakeClock, analysed: bool
) -> None:
    url = postgres.url(await postgres.create())
    admin: asyncpg.Connection = await asyncpg.connect(url)
    await admin.execute("ALTER SYSTEM SET autovacuum = off")
    await admin.execute("SELECT pg_reload_conf()")
    store = PostgresStore(
        url, account="default", metrics=QueueMetrics(CollectorRegistry(), "default"), clock=clock
    )
    await store.open()
    try:
        for part in range(50):
            await keep(store, *(to(str(15550000000 + i % 500 + part * 500)) for i in range(1000)), now=1.0)
        connection = store._writer._connection
        assert connection is not None
        if analysed:
            await admin.execute("ANALYZE")
        await connection.execute("DISCARD PLANS")
        for name, (statement, *indexes) in HOT.items():
            plan = json.dumps(json.loads(await _plan(connection, statement)))
            used = set(re.findall(r'"Index Name": "(\w+)"', plan))
            assert used == set(indexes), f"{name}: {plan}"
            assert "Seq Scan" not in plan, f"{name}: {plan}"
            assert "Join Filter" not in plan, f"{name}: {plan}"
            assert '"Node Type": "Sort"' not in plan or name in {"list", "lanes"}, f"{name}: {plan}"
        for claims in (1, 10, 250):
            for fair in (False, True):
                await _reads_little(connection, claims=claims, fair=fair)
    finally:
        await store.close()
        await admin.execute("ALTER SYSTEM RESET autovacuum")
        await admin.execute("SELECT pg_reload_conf()")
        await admin.close()


async def _reads_little(connection: asyncpg.Connection, *, claims: int, fair: bool) -> None:
    """A turn with so many claims, and the one that completes them, look at a few rows for each."""
    await connection.execute("BEGIN")
    before = await _looked_at(connection)
    nothing: list[object] = ["{}", "{}", "{}", [], "{}"]
    times = postgres_rows.numbers([2.0] * claims)
    *given, _ = await connection.fetch(
        postgres_turn.TURN, "default", 1, 2.0, *nothing, "w", times, fair, [], "{}"
    )
    assert len(given) == claims
    done = [
        postgres_rows.numbers(row["seq"] for row in given),
        postgres_rows.numbers(row["token"] for row in given),
        [row["id"] for row in given],
        times,
    ]
    last = await connection.fetchrow(
        postgres_turn.TURN,
        "default",
        1,
        2.0,
        "{}",
        *done,
        "w",
        "{}",
        fair,
        [row["chat"] for row in given],
        times,
    )
    assert last is not None
    assert len(last["done"]) == claims
    for name, (scans, read) in (await _looked_at(connection)).items():
        scans_before, read_before = before[name]
        assert scans == scans_before, f"{name} is read from end to end"
        assert read - read_before <= 20 * claims, f"{claims} claims: {read - read_before} rows of {name}"
    await connection.execute("ROLLBACK")


async def _looked_at(connection: asyncpg.Connection) -> dict[str, tuple[int, int]]:
    """How often each table was read from end to end on this connection, and how many rows by an index."""
    found = await connection.fetch("""
        SELECT relname, seq_scan, coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables
        WHERE relname LIKE 'beacon_%'""")
    return {name: (scans, read) for name, scans, read in found}


async def _plan(connection: asyncpg.Connection, statement: str) -> str:
    """The plan that the writer uses, which knows no values."""
    last = max(int(number) for number in re.findall(r"\$(\d+)", statement))
    await connection.execute(f"PREPARE explained AS {statement}")
    try:
        values = ", ".join(["NULL"] * last)
        plan: str = await connection.fetchval(f"EXPLAIN (FORMAT json) EXECUTE explained ({values})")
        return plan
    finally:
        await connection.execute("DEALLOCATE explained")

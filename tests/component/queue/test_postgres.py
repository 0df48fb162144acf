"""What PostgreSQL adds to the promises: many processes, and its schema."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from itertools import count

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from service.errors import ClaimLost, StoreFull, StoreTooNew, StoreUnavailable
from service.queue.metrics import QueueMetrics
from service.queue.model import Message, Moves, State
from service.queue.postgres import PostgresStore
from service.queue.postgres_connection import connect
from service.queue.postgres_listener import POLL_S
from service.queue.postgres_migrations import migrate, migrations
from tests.clock import FakeClock
from tests.component.postgres import Postgres
from tests.component.queue.support import (
    BROKEN_RULES,
    DEADLINE_S,
    WORKER,
    claimed,
    claimed_or_none,
    keep,
    to,
    until,
)
from tests.people import ANN, BEN, CLEO
from tests.unit.queue.messages import text_of

Open = Callable[..., "asyncio.Future[PostgresStore]"]


class Processes:
    """Stores as of several processes."""

    def __init__(self, url: str, account: str, clock: FakeClock, stack: AsyncExitStack) -> None:
        self._url, self._account, self._clock, self._stack = url, account, clock, stack

    async def start(self, account: str | None = None) -> PostgresStore:
        store = PostgresStore(
            self._url,
            account=account or self._account,
            metrics=QueueMetrics(CollectorRegistry(), "default"),
            clock=self._clock,
        )
        self._stack.push_async_callback(store.close)
        await store.open()
        return store


@pytest.fixture
async def processes(queue_url: str, account: str, clock: FakeClock) -> AsyncIterator[Processes]:
    async with AsyncExitStack() as stack:
        yield Processes(queue_url, account, clock, stack)


@pytest.fixture
async def look(queue_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A look at the database past the store."""
    connection = await connect(queue_url)
    yield connection
    await connection.close()


# --- several processes on one account -----------------------------------------------------------------


async def test_processes_never_claim_the_same_message_and_each_chat_goes_out_in_order(
    processes: Processes, clock: FakeClock
) -> None:
    one, two = await processes.start(), await processes.start()
    for part in range(4):
        await keep(one, *(to(str(15550000000 + i % 40), f"{part}-{i}") for i in range(100)), now=clock.now())
    taken: list[tuple[str, int, str]] = []

    async def work(store: PostgresStore, worker: str) -> None:
        while store.counts()[State.QUEUED]:
            for claim in await store.claim(worker=worker, now=clock.now()):
                taken.append((claim.message.chat, claim.message.seq, worker))
                await store.complete(claim, whatsapp_id=f"w{claim.token}", now=clock.now())

    await asyncio.gather(
        *(work(store, name) for store, name in ((one, "one"), (two, "two")) for _ in range(8))
    )

    assert len(taken) == len({seq for _, seq, _ in taken}) == 400
    assert {worker for _, _, worker in taken} == {"one", "two"}
    last: Counter[str] = Counter()
    for chat, seq, _ in taken:
        assert seq > last[chat], "a chat's order holds across processes"
        last[chat] = seq
    later = await processes.start()
    assert later.counts()[State.SENT] == 400, "each counted once, whoever sent it"


async def test_a_process_that_stopped_in_the_middle_of_a_claim_holds_back_only_that_chat(
    processes: Processes, look: asyncpg.Connection, clock: FakeClock, account: str
) -> None:
    store = await processes.start()
    _, other = await keep(store, to(ANN), to(BEN), now=clock.now())
    async with look.transaction():
        await look.fetch(
            "SELECT FROM beacon_lane WHERE account = $1 AND chat LIKE $2 FOR UPDATE", account, f"{ANN}%"
        )
        assert (await claimed(store, now=clock.now())).message.id == other.id
        assert not await store.claim(worker="worker", now=clock.now())
    assert (await claimed(store, now=clock.now())).message.chat.startswith(ANN)


async def test_what_another_process_enqueues_is_heard_at_once(processes: Processes, clock: FakeClock) -> None:
    here, there = await processes.start(), await processes.start()
    await until(lambda: here._listener.listening and there._listener.listening, "both listen")
    heard: list[Moves] = []
    here.subscribe(heard.append)

    await keep(there, to(ANN), to(BEN), now=clock.now())

    await until(lambda: here.counts()[State.QUEUED] == 2, "the counts follow")
    assert {(None, State.QUEUED): 2} in heard
    assert here.oldest_queued_at() == clock.now()


async def test_without_notifications_the_others_are_seen_at_the_next_look(
    processes: Processes, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = await processes.start(), await processes.start()
    await until(lambda: here._listener.listening and there._listener.listening, "both listen")
    monkeypatch.setattr(there._listener, "announce", lambda: None)  # a pooler swallows it

    await keep(there, to(ANN), now=clock.now())
    await until(lambda: clock.sleeps.count(POLL_S) == 2, "both wait for the next look")
    assert here.counts()[State.QUEUED] == 0

    clock.advance(POLL_S)
    await until(lambda: here.counts()[State.QUEUED] == 1, "the counts follow")


async def test_accounts_in_one_database_do_not_know_each_other(
    processes: Processes, clock: FakeClock, account: str
) -> None:
    ours, theirs = await processes.start(), await processes.start(f"{account}-other")
    (first,) = await keep(ours, to(ANN, idempotency_key="k"), now=clock.now())
    (second,) = await keep(theirs, to(ANN, idempotency_key="k"), now=clock.now())

    assert first.id != second.id
    assert await theirs.get(first.id) is None
    assert (await claimed(theirs, now=clock.now())).message.id == second.id
    assert (ours.counts()[State.QUEUED], theirs.counts()[State.QUEUED]) == (1, 0)


# --- groups -------------------------------------------------------------------------------------------


async def test_what_waits_together_is_committed_together(
    processes: Processes, look: asyncpg.Connection, clock: FakeClock
) -> None:
    store = await processes.start()
    await keep(store, *(to(str(15550000000 + i)) for i in range(100)), now=clock.now())
    before = await look.fetchval("SELECT txid_snapshot_xmax(txid_current_snapshot())")
    claims = await asyncio.gather(*(claimed(store, now=clock.now()) for _ in range(100)))
    after = await look.fetchval("SELECT txid_snapshot_xmax(txid_current_snapshot())")
    assert after - before <= 3
    assert [claim.message.seq for claim in claims] == sorted(claim.message.seq for claim in claims)


async def test_claims_made_together_are_those_that_one_after_the_other_would_get(
    processes: Processes, clock: FakeClock
) -> None:
    store = await processes.start()
    await keep(
        store,
        *(to(ANN, f"ann {i}", priority=9 - 3 * i) for i in range(3)),
        *(to(BEN, f"ben {i}", priority=7) for i in range(2)),
        to(CLEO, "late", priority=9, expires_at=clock.now() + 1),
        to(CLEO, "cleo", priority=5),
        now=clock.now(),
    )
    clock.advance(2)
    claims = await asyncio.gather(
        *(claimed_or_none(store, worker="w", now=clock.now(), fair=i == 5) for i in range(8))
    )
    assert [claim and text_of(claim.message) for claim in claims] == [
        "ann 0", "ben 0", "ben 1", "ann 1", "cleo", "ann 2", None, None,
    ]  # fmt: skip
    assert store.counts()[State.EXPIRED] == 1


async def test_a_claim_made_with_one_of_a_later_time_gets_nothing_that_is_due_in_between(
    processes: Processes, clock: FakeClock
) -> None:
    store = await processes.start()
    now = clock.now()
    await keep(store, to(ANN, not_before=now + 7), to(BEN, not_before=now + 7), now=now)
    async with asyncio.timeout(DEADLINE_S):
        early, late = await asyncio.gather(
            store.claim(worker=WORKER, now=now + 5), store.claim(worker=WORKER, now=now + 10)
        )
    assert not early
    assert late


async def test_claims_made_together_at_different_times_each_get_what_is_theirs(
    processes: Processes, clock: FakeClock
) -> None:
    store = await processes.start()
    now = clock.now()
    await keep(
        store,
        to(ANN, "soon", priority=9, not_before=now + 7),
        to(BEN, "for a while", priority=8, expires_at=now + 7),
        to(CLEO, "any time"),
        now=now,
    )
    async with asyncio.timeout(DEADLINE_S):
        answers = await asyncio.gather(
            store.claim(worker=WORKER, now=now + 5, limit=1),
            store.claim(worker=WORKER, now=now + 10, limit=5),
        )
    assert [[text_of(claim.message) for claim in claims] for claims in answers] == [
        ["for a while"],
        ["soon", "any time"],
    ]


@pytest.mark.parametrize("turns", range(12))
async def test_claims_that_nobody_waits_for_any_more_are_given_back(
    processes: Processes, clock: FakeClock, turns: int
) -> None:
    store = await processes.start()
    await keep(store, *(to(str(15550000000 + i)) for i in range(5)), now=clock.now())
    asked = asyncio.create_task(store.claim(worker=WORKER, now=clock.now(), limit=3))
    passed = count()
    await until(lambda: next(passed) == turns, f"turn {turns} of the event loop")
    if turns % 2:  # when the answer is there, and before it is heard
        await until(lambda: store.counts()[State.SENDING] == 3 or asked.done(), "they are claimed")
    asked.cancel()
    with suppress(asyncio.CancelledError):
        await asked
    if asked.cancelled():
        assert len(await store.claim(worker=WORKER, now=clock.now(), limit=9)) == 5


async def test_a_receipt_that_came_early_counts_though_its_message_is_completed_with_others(
    processes: Processes, clock: FakeClock
) -> None:
    store = await processes.start()
    now = clock.now()
    await keep(store, to(ANN, "1"), to(BEN, "1"), to(ANN, "2"), to(BEN, "2"), now=now)
    one, two = await store.claim(worker=WORKER, now=now, limit=2)
    await store.receive(["early"], state=State.READ, at=now, now=now)
    completing = [
        asyncio.create_task(store.complete(claim, whatsapp_id=whatsapp_id, now=now))
        for claim, whatsapp_id in ((one, "late"), (two, "early"))
    ]
    claiming = asyncio.create_task(store.claim(worker=WORKER, now=now, limit=9))
    first, second = await asyncio.gather(*completing)
    claims = await claiming
    assert (first.state, second.state) == (State.SENT, State.READ)
    assert [(text_of(claim.message), claim.behind) for claim in claims] == [("2", None), ("2", None)]
    assert {state: n for state, n in store.counts().items() if n} == {
        State.SENT: 1, State.READ: 1, State.SENDING: 2,
    }  # fmt: skip


async def test_completions_and_claims_of_one_turn_share_a_commit(
    processes: Processes, look: asyncpg.Connection, clock: FakeClock
) -> None:
    store = await processes.start()
    await keep(store, *(to(str(15550000000 + i)) for i in range(40)), now=clock.now())
    claims = await store.claim(worker=WORKER, now=clock.now(), limit=20)
    before = await look.fetchval("SELECT txid_snapshot_xmax(txid_current_snapshot())")
    completing = [
        asyncio.create_task(store.complete(claim, whatsapp_id=claim.message.id, now=clock.now()))
        for claim in claims
    ]
    claiming = asyncio.create_task(store.claim(worker=WORKER, now=clock.now(), limit=20))
    await asyncio.gather(*completing)
    more = await claiming
    after = await look.fetchval("SELECT txid_snapshot_xmax(txid_current_snapshot())")
    assert len(more) == 20
    assert after - before == 1


async def test_a_completion_goes_before_the_claims_that_are_committed_with_it(
    processes: Processes, clock: FakeClock
) -> None:
    store = await processes.start()
    await keep(store, to(ANN), to(ANN), now=clock.now())
    first = await claimed(store, now=clock.now())
    async with asyncio.TaskGroup() as together:
        claiming = together.create_task(store.claim(worker=WORKER, now=clock.now(), limit=2))
        together.create_task(store.complete(first, whatsapp_id="w1", now=clock.now()))
    (second,) = claiming.result()
    assert second.behind is None, "it waits for nobody"


async def test_nothing_is_claimed_while_the_clock_is_set_back(processes: Processes, clock: FakeClock) -> None:
    store = await processes.start()
    await keep(store, to(ANN), to(BEN), now=clock.now())
    async with asyncio.timeout(DEADLINE_S):
        assert not await store.claim(worker=WORKER, now=clock.now() - 1)
    assert await store.claim(worker=WORKER, now=clock.now())


async def test_the_first_message_of_a_chat_is_claimed_though_it_came_with_claims_that_found_nothing(
    processes: Processes, clock: FakeClock
) -> None:
    store = await processes.start()
    now = clock.now()
    for _ in range(5):
        alone = asyncio.create_task(store.claim(worker=WORKER, now=now))
        await asyncio.sleep(0)  # the writer begins, so that what follows shares the next commit
        _, with_it, kept = await asyncio.gather(
            alone, store.claim(worker=WORKER, now=now), store.enqueue([to(ANN)], now=now)
        )
        (claim,) = with_it or await store.claim(worker=WORKER, now=now)
        assert claim.message.id == kept[0].message.id
        await store.complete(claim, whatsapp_id=f"3EB0{claim.token}", now=now)


async def test_one_that_the_database_refuses_does_not_harm_what_is_committed_with_it(
    processes: Processes, clock: FakeClock
) -> None:
    store = await processes.start()
    outcomes = await asyncio.gather(
        store.enqueue([to(ANN)], now=clock.now()),
        store.enqueue([to(BEN), to("NUL\0")], now=clock.now()),
        store.enqueue([to(CLEO)], now=clock.now()),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [list, StoreUnavailable, list]
    assert store.counts()[State.QUEUED] == 2


async def test_an_outcome_with_words_that_postgresql_cannot_keep_is_kept(
    processes: Processes, clock: FakeClock
) -> None:
    store = await processes.start()
    await keep(store, to(ANN), now=clock.now())
    claim = await claimed(store, now=clock.now())
    await store.mark_unknown(claim, whatsapp_id=None, error="odd \0 \ud800", now=clock.now())
    found = await store.get(claim.message.id)
    assert found is not None
    assert found.last_error == "odd \ufffd ?"


# --- the schema ---------------------------------------------------------------------------------------


async def test_a_newer_schema_is_refused_and_left_alone(postgres: Postgres, clock: FakeClock) -> None:
    url = postgres.url(await postgres.create())
    connection = await connect(url)
    try:
        await migrate(connection)
        await connection.execute("INSERT INTO beacon_migration (number) VALUES (9999)")
        store = PostgresStore(
            url, account="a", metrics=QueueMetrics(CollectorRegistry(), "default"), clock=clock
        )
        with pytest.raises(StoreTooNew, match="9999"):
            await store.open()
        assert await connection.fetchval("SELECT count(*) FROM beacon_message") == 0
    finally:
        await connection.close()


async def test_processes_that_start_at_once_apply_each_migration_once(postgres: Postgres) -> None:
    url = postgres.url(await postgres.create())
    connections = [await connect(url) for _ in range(3)]
    try:
        applied = await asyncio.gather(*(migrate(connection) for connection in connections))
        assert sorted(applied) == [[], [], sorted(migrations())]
    finally:
        for connection in connections:
            await connection.close()


def test_migrations_are_numbered_without_gaps() -> None:
    assert sorted(migrations()) == list(range(1, len(migrations()) + 1))


async def test_a_read_only_server_is_unavailable(postgres: Postgres, clock: FakeClock) -> None:
    name = await postgres.create()
    connection: asyncpg.Connection = await asyncpg.connect(postgres.url())
    await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await connection.close()
    store = PostgresStore(
        postgres.url(name), account="a", metrics=QueueMetrics(CollectorRegistry(), "default"), clock=clock
    )
    with pytest.raises(StoreUnavailable):
        await store.open()


async def test_a_server_that_speaks_no_tls_is_refused_when_the_url_asks_for_it(
    queue_url: str, clock: FakeClock
) -> None:
    store = PostgresStore(
        f"{queue_url}?sslmode=require",
        account="a",
        metrics=QueueMetrics(CollectorRegistry(), "default"),
        clock=clock,
    )
    with pytest.raises(StoreUnavailable, match="no TLS") as refusal:
        await store.open()
    assert "secret-word" not in str(refusal.value)


async def test_accepted_means_on_disk_whatever_the_servers_default_is(
    postgres: Postgres, clock: FakeClock
) -> None:
    name = await postgres.create()
    admin: asyncpg.Connection = await asyncpg.connect(postgres.url())
    await admin.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    await admin.close()
    connection = await connect(postgres.url(name))
    assert await connection.fetchval("SHOW synchronous_commit") == "on"
    await connection.close()


@pytest.mark.parametrize(
    "change",
    [
        *BROKEN_RULES,
        "resends = 2",
        "secret = '\\x00'",
    ],
)
async def test_the_schema_refuses_what_the_state_machine_would_never_do(
    processes: Processes, look: asyncpg.Connection, account: str, change: str
) -> None:
    await keep(await processes.start(), to(ANN), now=1.0)
    with pytest.raises(asyncpg.CheckViolationError):
        await look.execute(f"UPDATE beacon_message SET {change} WHERE account = $1", account)


async def test_a_full_disk_is_told_as_such(
    processes: Processes, look: asyncpg.Connection, clock: FakeClock, account: str
) -> None:
    store = await processes.start()
    await look.execute(f"""
        CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE SQLSTATE '53100' USING MESSAGE = 'could not extend file'; END $$;
        CREATE TRIGGER no_room BEFORE INSERT ON beacon_message
            FOR EACH ROW WHEN (new.account = '{account}') EXECUTE FUNCTION no_room()""")
    try:
        with pytest.raises(StoreFull):
            await store.enqueue([to(ANN)], now=clock.now())
        assert store.trouble() == "queue database: DiskFullError 53100"
    finally:
        await look.execute("DROP TRIGGER no_room ON beacon_message; DROP FUNCTION no_room")
    await store.enqueue([to(ANN)], now=clock.now())
    assert store.trouble() is None


async def test_only_chats_that_something_was_sent_to_are_remembered_of_completions_in_one_commit(
    processes: Processes, clock: FakeClock
) -> None:
    store = await processes.start()
    await keep(store, to(ANN), to(BEN), to(CLEO), now=1.0)
    ann, ben, cleo = await store.claim(worker=WORKER, now=2.0, limit=3)
    await store.release(ben, now=3.0)

    outcomes = await asyncio.gather(
        *(
            store.complete(claim, whatsapp_id=claim.message.id, now=4.0 + at)
            for at, claim in enumerate((ann, ben, cleo))
        ),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes] == [Message, ClaimLost, Message]
    assert (await store.acquaintance(ann.message.chat)).first_sent_at == 4.0
    assert (await store.acquaintance(ben.message.chat)).first_sent_at is None
    assert (await store.acquaintance(cleo.message.chat)).first_sent_at == 6.0

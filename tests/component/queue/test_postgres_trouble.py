"""A PostgreSQL that is restarted, does not answer, or is lost in the middle of a COMMIT."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import asyncpg
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from service.errors import ClaimLost, StoreUnavailable
from service.queue.metrics import QueueMetrics
from service.queue.model import State
from service.queue.postgres import PostgresStore
from service.queue.postgres_listener import AGAIN_S, POLL_S
from tests.clock import FakeClock
from tests.component.postgres import Postgres
from tests.component.queue.cutter import Cut, Cutter, cutter
from tests.component.queue.support import claimed, claimed_or_none, keep, to, until, value
from tests.people import ANN, BEN

BRIEF_S = 2.0
"""A deadline for a database that will not answer; one that does, on whatever machine, is within it."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server of these tests' own, because they are hard on it."""
    with Postgres() as running:
        yield running


@pytest.fixture(scope="module")
def queue_database(postgres: Postgres) -> str:
    return asyncio.run(postgres.create())


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


class Place:
    """Where a store is started, by which way, and what it counts."""

    def __init__(self, postgres: Postgres, database: str, account: str, stack: AsyncExitStack) -> None:
        self.postgres, self.clock, self.registry = postgres, FakeClock(), CollectorRegistry()
        self._database, self._account, self._stack = database, account, stack
        self._metrics = QueueMetrics(self.registry, "default")

    async def start(self, *, port: int | None = None, deadline_s: float = 20.0) -> PostgresStore:
        url = self.postgres.url(self._database, port=port)
        metrics = self._metrics if port is None else QueueMetrics(self.registry_of_its_own(), "default")
        store = PostgresStore(
            url, account=self._account, metrics=metrics, clock=self.clock, deadline_s=deadline_s
        )
        self._stack.push_async_callback(store.close)
        await store.open()
        await until(lambda: store._listener.listening, "it listens")
        return store

    @staticmethod
    def registry_of_its_own() -> CollectorRegistry:
        return CollectorRegistry()

    async def cutter(self) -> tuple[Cutter, int]:
        return await self._stack.enter_async_context(cutter(self.postgres.port))

    async def end_connections(self) -> None:
        """As a pooler or a host does with those that are idle."""
        admin: asyncpg.Connection = await asyncpg.connect(self.postgres.url())
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'beacon queue'"
        )
        await admin.close()


@pytest.fixture
def place(postgres: Postgres, queue_database: str, account: str, stack: AsyncExitStack) -> Place:
    return Place(postgres, queue_database, account, stack)


async def test_a_connection_that_ended_while_idle_is_replaced_and_nobody_notices(place: Place) -> None:
    store = await place.start()
    (kept,) = await keep(store, to(ANN), now=1.0)
    await place.end_connections()

    assert await store.get(kept.id) == kept
    assert (await claimed(store, now=1.0)).message.id == kept.id
    assert store.trouble() is None


async def test_while_the_database_is_gone_it_says_so_and_goes_on_when_it_is_back(place: Place) -> None:
    store = await place.start()
    (kept,) = await keep(store, to(ANN), now=1.0)
    claim = await claimed(store, now=1.0)
    with capture_logs():
        place.postgres.kill()
        try:
            for refused in (
                store.enqueue([to(BEN)], now=1.0),
                store.complete(claim, whatsapp_id="w", now=1.0),
                store.get(kept.id),
                store.next_due(),
            ):
                with pytest.raises(StoreUnavailable):
                    await refused
            assert "secret-word" not in (store.trouble() or "")
            assert store.trouble() is not None
        finally:
            place.postgres.start()

        await until(lambda: AGAIN_S in place.clock.sleeps, "the listener waits")
        place.clock.advance(max(AGAIN_S, POLL_S))
        await until(lambda: store.trouble() is None, "it looks by itself")
    assert (await store.complete(claim, whatsapp_id="w", now=2.0)).state is State.SENT
    assert store.counts()[State.QUEUED] == 0, "what was refused was not kept"
    assert value(place.registry, "whatsapp_queue_store_errors_total", reason="unavailable") == 4


async def test_a_database_that_does_not_answer_is_unavailable_in_bounded_time(place: Place) -> None:
    store = await place.start(deadline_s=BRIEF_S)
    (kept,) = await keep(store, to(ANN), now=1.0)
    with capture_logs():
        place.postgres.pause()
        try:
            async with asyncio.timeout(20 * BRIEF_S):
                answers = await asyncio.gather(
                    store.enqueue([to(BEN)], now=1.0),
                    store.claim(worker="w", now=1.0),
                    store.get(kept.id),
                    return_exceptions=True,
                )
        finally:
            place.postgres.resume()
    assert [str(answer) for answer in answers] == ["queue database: no answer in time"] * 3
    claim = await _once_it_answers(store)
    assert claim == kept.id
    assert store.counts()[State.QUEUED] == 0


async def _once_it_answers(store: PostgresStore) -> str:
    """The server lets go of what was cut off as soon as it sees that."""
    async with asyncio.timeout(60.0):
        while True:
            try:
                claims = await store.claim(worker="w", now=1.0)
            except StoreUnavailable:
                continue
            if claims:
                return claims[0].message.id


@pytest.mark.parametrize("cut", Cut, ids=lambda cut: cut.name.lower())
async def test_a_commit_that_was_cut_off_is_looked_up_and_answered_truly(place: Place, cut: Cut) -> None:
    line, port = await place.cutter()
    store = await place.start(port=port)
    with capture_logs() as logs:
        line.cut = cut
        (answer,) = await store.enqueue([to(ANN, idempotency_key="k")], now=1.0)
        line.cut = cut
        claim = await claimed(store, now=1.0)
        line.cut = cut
        sent = await store.complete(claim, whatsapp_id="w", now=1.0)

    assert line.cuts == 3
    assert answer.created
    assert (claim.message.id, sent.state, sent.attempts) == (answer.message.id, State.SENT, 1)
    looked_up = [log["took"] for log in logs if log["event"] == "queue.commit_looked_up"]
    assert looked_up == [cut is Cut.AFTER] * 3
    assert {state: n for state, n in store.counts().items() if n} == {State.SENT: 1}
    assert (await (await place.start()).get(answer.message.id)) == sent


@pytest.mark.parametrize("cut", Cut, ids=lambda cut: cut.name.lower())
async def test_what_had_to_be_refused_in_doubt_is_made_true_afterwards(place: Place, cut: Cut) -> None:
    line, port = await place.cutter()
    store = await place.start(port=port)
    other = await place.start()
    (kept,) = await keep(other, to(BEN), now=1.0)
    line.stays_closed = True
    with capture_logs():
        for refused in (lambda: store.enqueue([to(ANN)], now=1.0), lambda: store.claim(worker="w", now=1.0)):
            line.cut = cut
            store._writer._deadline_s = BRIEF_S
            with pytest.raises(StoreUnavailable):
                await refused()
            line.open = True
            store._writer._deadline_s = 20.0
            assert await store.expire(now=1.0) == 0
        claim = await claimed(store, now=1.0)

        line.cut = cut
        store._writer._deadline_s = BRIEF_S
        with pytest.raises(StoreUnavailable):
            await store.complete(claim, whatsapp_id="w", now=1.0)
        line.open = True
        store._writer._deadline_s = 20.0
        sent = await store.complete(claim, whatsapp_id="w", now=2.0)

    assert claim.message.id == kept.id, "nobody has the claim that was refused"
    assert (sent.state, sent.attempts) == (State.SENT, 1)
    with pytest.raises(ClaimLost):
        await store.complete(claim, whatsapp_id="w", now=2.0)
    assert {state: n for state, n in store.counts().items() if n} == {State.SENT: 1}, "ANN's was refused"
    assert not await store.claim(worker="w", now=2.0)


async def test_messages_stream_through_a_server_that_is_killed_again_and_again(place: Place) -> None:
    """As many as were accepted are sent, each once, in order; what was refused is not there."""
    store = await place.start()
    accepted: list[str] = []
    sent: list[str] = []

    async def accept() -> None:
        for i in range(60):
            try:
                (answer,) = await store.enqueue([to(ANN, str(i))], now=1.0)
            except StoreUnavailable:
                await asyncio.sleep(0)
                continue
            accepted.append(answer.message.id)

    async def send() -> None:
        while not accepting.done() or len(sent) < len(accepted):
            try:
                claim = await claimed_or_none(store, worker="w", now=1.0)
            except StoreUnavailable:
                continue
            while claim is not None:
                try:
                    await store.complete(claim, whatsapp_id=f"w{claim.token}", now=1.0)
                except StoreUnavailable:
                    continue
                sent.append(claim.message.id)
                break

    with capture_logs():
        accepting = asyncio.create_task(accept())
        sending = asyncio.create_task(send())
        for reached in (5, 15, 30):
            await until(lambda: len(accepted) >= reached or accepting.done(), "some are accepted")  # noqa: B023
            await asyncio.to_thread(_restart, place.postgres)
        await accepting
        await sending
    assert sent == accepted
    assert store.counts()[State.SENT] == len(accepted)
    assert sum(store.counts().values()) == len(accepted)


def _restart(postgres: Postgres) -> None:
    postgres.kill()
    postgres.start()

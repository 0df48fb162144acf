"""The lease in a real PostgreSQL: one holder, a growing fence, and trust that ends before the row can.

Each process has a clock of its own that stands until a test moves it; the database's runs.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from service.postgres import tls_mode
from service.reconnect.lease_metrics import Hindrance, LeaseMetrics
from service.reconnect.lease_postgres import (
    ASK_DEADLINE_S,
    ASK_EVERY_S,
    LOOK_EVERY_S,
    RENEW_EVERY_S,
    TRUST_S,
    TTL_S,
    PostgresLease,
)
from service.simulator import tls
from tests.clock import FakeClock
from tests.component.postgres import Postgres

PATIENCE_S = 60.0
SSL_REQUEST = bytes.fromhex("00000008 04d2162f")
TURNS = 20
"""Of the event loop, in which nothing happens: then what could be done now is done."""

T = TypeVar("T")


class Watched(PostgresLease):
    """Says whether it waits for the database."""

    asking = 0

    async def _within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        self.asking += 1
        try:
            return await super()._within(seconds, work)
        finally:
            self.asking -= 1


class Suspendable(FakeClock):
    """Its sleepers do not know how long the machine was suspended."""

    suspended = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.suspended


class Process:
    """What one process has of the lease."""

    def __init__(self, url: str, account: str) -> None:
        self.clock = Suspendable()
        self.told: list[Hindrance] = []
        self._registry = CollectorRegistry()
        self._account = account
        self.lease = Watched(
            url, account=account, clock=self.clock, metrics=LeaseMetrics(self._registry, account)
        )
        self._tasks: list[asyncio.Task[Any]] = []

    def metric(self, name: str, **labels: str) -> float:
        value = self._registry.get_sample_value(
            f"whatsapp_lease_{name}", {"account": self._account, **labels}
        )
        assert value is not None, name
        return value

    def asks(self) -> asyncio.Task[int]:
        """It asks for the lease until it has it."""
        self._tasks.append(asking := asyncio.create_task(self.lease.acquire(self.told.append)))
        return asking

    def losing(self) -> asyncio.Task[None]:
        self._tasks.append(losing := asyncio.create_task(self.lease.lost()))
        return losing

    async def hindered(self, hindrance: Hindrance) -> None:
        """It has asked, and waits for that reason."""
        await until(lambda: bool(self.told) and self.told[-1] is hindrance, f"told of {hindrance}")

    async def settles(self, *, hanging: bool = False) -> None:
        """Everything that can be done now is done: it waits for time alone (or for a database that hangs)."""
        turns, before = 0, self.clock.sleeps
        async with asyncio.timeout(PATIENCE_S):
            while turns < TURNS:
                await asyncio.sleep(0)
                sleeps = self.clock.sleeps
                waits = bool(sleeps) and (hanging or not self.lease.asking)
                turns = turns + 1 if waits and sleeps == before else 0
                before = sleeps

    async def passes(self, seconds: float, *, hanging: bool = False) -> None:
        """Let time pass once it waits for nothing else."""
        await self.settles(hanging=hanging)
        self.clock.advance(seconds)

    async def renewal_is_due(self) -> None:
        """Let time pass up to its next renewal, and let that end."""
        await self.passes(RENEW_EVERY_S)
        await self.settles()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.lease.release()


class World:
    """An empty database, the processes that share it, and an operator with SQL."""

    def __init__(self, postgres: Postgres, database: str) -> None:
        self.postgres = postgres
        self.url = postgres.url(database)
        self.processes: list[Process] = []

    def process(self, account: str = "default", *, url: str | None = None) -> Process:
        self.processes.append(one := Process(url or self.url, account))
        return one

    async def sql(self, query: str, *arguments: object) -> Any:
        connection: asyncpg.Connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    async def expire(self) -> None:
        """As if the database's time had come to the end of the lease."""
        await self.sql("UPDATE beacon_lease SET expires_at = clock_timestamp() - interval '1 second'")


@pytest.fixture
async def world(postgres: Postgres) -> AsyncIterator[World]:
    world = World(postgres, await postgres.create())
    yield world
    for process in world.processes:
        await process.end()


async def until(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


async def soon(task: asyncio.Task[Any]) -> Any:
    return await asyncio.wait_for(asyncio.shield(task), PATIENCE_S)


async def test_a_free_lease_is_taken_at_once(world: World) -> None:
    ann = world.process()
    assert ann.lease.fence is None
    assert await soon(ann.asks()) == 1
    assert ann.lease.fence == 1
    assert ann.told == []
    assert ann.metric("held") == 1
    assert ann.metric("fence") == 1
    assert ann.metric("wait_seconds_count") == 1
    life_s = await world.sql("SELECT extract(epoch FROM expires_at - acquired_at)::float8 FROM beacon_lease")
    assert life_s == pytest.approx(TTL_S, abs=0.01)


async def test_who_waits_is_told_why_and_takes_over_the_moment_it_is_released(world: World) -> None:
    ann, ben = world.process(), world.process()
    await soon(ann.asks())
    asking = ben.asks()
    await ben.hindered(Hindrance.HELD_ELSEWHERE)
    assert ben.metric("hindered", hindrance="held_elsewhere") == 1

    await ann.lease.release()
    assert await soon(asking) == 2  # its clock stands: it was told
    assert ann.lease.fence is None
    assert (ann.metric("held"), ben.metric("held")) == (0, 1)
    assert ben.told == [Hindrance.HELD_ELSEWHERE]
    assert ben.metric("hindered", hindrance="held_elsewhere") == 0
    assert ann.metric("lost_total", reason="taken") == 0


async def test_a_release_that_nobody_is_told_of_is_found_within_a_second(world: World) -> None:
    ann, ben = world.process(), world.process()
    await soon(ann.asks())
    asking = ben.asks()
    await ben.hindered(Hindrance.HELD_ELSEWHERE)
    await world.sql("UPDATE beacon_lease SET holder = '', expires_at = to_timestamp(0)")
    await ben.passes(ASK_EVERY_S)
    assert await soon(asking) == 2


async def test_a_holder_that_died_is_followed_when_its_time_is_over_and_not_before(world: World) -> None:
    ann, ben = world.process(), world.process()
    await soon(ann.asks())  # and never renews: its clock stands
    asking = ben.asks()
    await ben.hindered(Hindrance.HELD_ELSEWHERE)
    await ben.passes(ASK_EVERY_S)
    await ben.passes(ASK_EVERY_S)
    assert not asking.done()

    await world.expire()
    await ben.passes(ASK_EVERY_S)
    assert await soon(asking) == 2


async def test_renewing_every_five_seconds_keeps_it(world: World) -> None:
    ann, ben = world.process(), world.process()
    await soon(ann.asks())
    losing = ann.losing()
    for turn in range(1, 9):
        await ann.renewal_is_due()
        assert ann.metric("renewals_total", result="renewed") == turn
    assert not losing.done()
    asking = ben.asks()
    await ben.hindered(Hindrance.HELD_ELSEWHERE)
    left_s = await world.sql(
        "SELECT extract(epoch FROM expires_at - clock_timestamp())::float8 FROM beacon_lease"
    )
    assert left_s > TTL_S - RENEW_EVERY_S
    assert not asking.done()
    assert ann.metric("renewal_seconds_count") == 8


async def test_two_who_wait_get_it_one_after_the_other(world: World) -> None:
    holder, *waiting = (world.process() for _ in range(3))
    fences = [await soon(holder.asks())]
    asking = {one.asks(): one for one in waiting}
    for one in waiting:
        await one.hindered(Hindrance.HELD_ELSEWHERE)

    await holder.lease.release()
    (first,), (second,) = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
    fences.append(first.result())
    await asking[second].passes(ASK_EVERY_S)
    await asking[second].settles()
    assert not second.done()

    await asking[first].lease.release()
    fences.append(await soon(second))
    assert fences == [1, 2, 3]


async def test_the_fence_grows_with_every_holder_also_with_the_same_one(world: World) -> None:
    ann = world.process()
    fences = []
    for _ in range(3):
        fences.append(await soon(ann.asks()))
        await ann.lease.release()
        assert ann.lease.fence is None
    fences.append(await soon(world.process().asks()))
    assert fences == [1, 2, 3, 4]


async def test_accounts_do_not_disturb_each_other_even_when_all_start_at_once(world: World) -> None:
    processes = [world.process(f"account-{number}") for number in range(8)]
    fences = await asyncio.gather(*(soon(one.asks()) for one in processes))
    assert fences == [1] * 8
    await processes[0].lease.release()
    assert all(one.metric("held") == 1 for one in processes[1:])


async def test_a_row_that_was_taken_is_noticed_at_once(world: World) -> None:
    ann, ben = world.process(), world.process()
    await soon(ann.asks())
    losing = ann.losing()
    await world.expire()  # the database's clock was set forward
    assert await soon(ben.asks()) == 2
    await soon(losing)  # its clock stands: it was told
    assert ann.lease.fence is None
    assert ann.metric("held") == 0
    assert ann.metric("lost_total", reason="taken") == 1
    assert ben.metric("lost_total", reason="taken") == 0


async def test_a_row_that_was_taken_in_silence_is_noticed_at_the_next_renewal(world: World) -> None:
    ann = world.process()
    await soon(ann.asks())
    losing = ann.losing()
    await world.sql("UPDATE beacon_lease SET fence = fence + 1, holder = 'somebody'")
    await ann.passes(RENEW_EVERY_S)
    await soon(losing)
    assert ann.metric("lost_total", reason="taken") == 1
    assert ann.metric("renewals_total", result="taken") == 1


async def test_a_row_that_only_expired_is_renewed(world: World) -> None:
    ann = world.process()
    await soon(ann.asks())
    losing = ann.losing()
    await world.expire()
    await ann.renewal_is_due()
    assert not losing.done()
    assert await world.sql("SELECT expires_at > clock_timestamp() FROM beacon_lease")


async def test_a_dead_holder_does_not_live_on_because_the_database_clock_was_set_back(world: World) -> None:
    ann, ben = world.process(), world.process()
    await soon(ann.asks())
    await world.sql("UPDATE beacon_lease SET expires_at = expires_at + interval '1 hour'")
    asking = ben.asks()
    await ben.hindered(Hindrance.HELD_ELSEWHERE)
    for _ in range(int(TTL_S) - 1):
        await ben.passes(ASK_EVERY_S)
    await ben.settles()
    assert not asking.done()
    for _ in range(2):
        if not asking.done():
            await ben.passes(ASK_EVERY_S)
    assert await soon(asking) == 2


async def test_a_living_holder_keeps_it_whatever_the_waiting_ones_clock_does(world: World) -> None:
    ann, ben = world.process(), world.process()
    await soon(ann.asks())
    losing, asking = ann.losing(), ben.asks()
    await ben.hindered(Hindrance.HELD_ELSEWHERE)
    for _ in range(4):
        await ann.renewal_is_due()
        ben.clock.jump(3600)
        await ben.passes(TTL_S / 2)
    await ben.settles()
    assert not losing.done()
    assert not asking.done()


@pytest.mark.parametrize("seconds", [-86400.0, 86400.0], ids=["back", "forward"])
async def test_setting_this_machines_clock_changes_nothing(world: World, seconds: float) -> None:
    ann = world.process()
    await soon(ann.asks())
    losing = ann.losing()
    ann.clock.jump(seconds)
    await ann.renewal_is_due()
    await ann.renewal_is_due()
    assert not losing.done()
    assert ann.metric("renewals_total", result="renewed") == 2


async def test_a_process_that_slept_through_its_trust_has_lost_it(world: World) -> None:
    ann = world.process()
    await soon(ann.asks())
    losing = ann.losing()
    await ann.passes(TRUST_S)
    await soon(losing)
    assert ann.metric("lost_total", reason="stalled") == 1


async def test_a_machine_that_was_suspended_has_lost_it(world: World) -> None:
    ann = world.process()
    await soon(ann.asks())
    losing = ann.losing()
    await ann.settles()
    ann.clock.suspended = TTL_S
    await ann.passes(LOOK_EVERY_S)
    await soon(losing)
    assert ann.metric("lost_total", reason="stalled") == 1


@asynccontextmanager
async def tls_alone(port: int, folder: Path) -> AsyncIterator[int]:
    """The port of a server that hangs up on whoever does not begin with TLS, as Heroku's do."""
    _, context = tls.authority(folder)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readexactly(8) != SSL_REQUEST:
                return
            writer.write(b"S")
            await writer.start_tls(context)
            there, back = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            writer.close()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_server_that_insists_on_tls_and_has_its_own_certificate_is_spoken_to(
    world: World, tmp_path: Path
) -> None:
    async with tls_alone(world.postgres.port, tmp_path) as port:
        ann = world.process(url=world.url.replace(str(world.postgres.port), str(port)) + "?sslmode=require")
        assert await soon(ann.asks()) == 1
        await ann.end()
    assert await world.sql("SELECT fence FROM beacon_lease") == 1


async def test_a_broken_connection_is_replaced(world: World) -> None:
    ann, ben = world.process(), world.process()
    await soon(ann.asks())
    losing = ann.losing()
    await world.sql(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await ann.renewal_is_due()
    while ann.metric("renewals_total", result="renewed") == 0:
        await ann.passes(0.5)
        await ann.settles()
    assert not losing.done()

    await world.expire()
    assert await soon(ben.asks()) == 2
    await soon(losing)  # it listens again


async def test_a_database_that_is_killed_ends_the_trust_in_time_and_gives_the_lease_anew(
    world: World,
) -> None:
    ann = world.process()
    await soon(ann.asks())
    losing = ann.losing()
    world.postgres.kill()
    try:
        await ann.renewal_is_due()
        assert ann.metric("renewals_total", result="failed") == 1
        await ann.passes(TRUST_S - RENEW_EVERY_S - 0.01)
        assert not losing.done()
        await ann.passes(0.01)
        await soon(losing)
        assert ann.metric("lost_total", reason="unreachable") == 1

        asking = ann.asks()
        await ann.hindered(Hindrance.UNREACHABLE)
        assert ann.metric("hindered", hindrance="unreachable") == 1
        assert not asking.done()
    finally:
        world.postgres.start()
    await ann.passes(ASK_EVERY_S)
    assert await soon(asking) == 2  # its own row: nobody else can have it, so there is nothing to wait for


async def test_a_database_that_hangs_ends_the_trust_in_time(world: World) -> None:
    ann, ben = world.process(), world.process()
    await soon(ann.asks())
    losing, asking = ann.losing(), ben.asks()
    await ben.hindered(Hindrance.HELD_ELSEWHERE)
    world.postgres.pause()
    try:
        spent = 0.0
        while spent < TRUST_S:
            assert not losing.done(), f"after {spent} s"
            await ann.passes(0.5, hanging=True)
            spent += 0.5
        await soon(losing)
        assert ann.lease.fence is None
        assert ann.metric("lost_total", reason="unreachable") == 1
        assert ann.metric("renewals_total", result="failed") >= 1

        for _ in range(int(TTL_S) + 10):
            await ben.passes(1.0, hanging=True)
        await ben.hindered(Hindrance.UNREACHABLE)
        assert not asking.done()
    finally:
        world.postgres.resume()
    await world.expire()
    await ben.passes(ASK_DEADLINE_S, hanging=True)
    await ben.passes(ASK_EVERY_S)
    assert await soon(asking) > 1  # questions that were given up are answered now: each may raise it


async def test_a_release_does_not_wait_for_a_database_that_hangs(world: World) -> None:
    ann = world.process()
    await soon(ann.asks())
    world.postgres.pause()
    try:
        releasing = asyncio.create_task(ann.lease.release())
        await ann.passes(2.0, hanging=True)
        await soon(releasing)
    finally:
        world.postgres.resume()
    assert ann.metric("held") == 0


async def test_giving_up_what_was_never_asked_for_needs_no_database() -> None:
    process = Process("postgres://nobody.invalid/nothing", "default")
    await process.lease.lost()
    await process.lease.release()


async def test_who_stops_waiting_leaves_nothing_behind(world: World) -> None:
    ann, ben = world.process(), world.process()
    await soon(ann.asks())
    asking = ben.asks()
    await ben.hindered(Hindrance.HELD_ELSEWHERE)
    asking.cancel()
    await asyncio.wait({asking})
    assert ben.metric("hindered", hindrance="held_elsewhere") == 0
    await ben.lease.release()
    assert await world.sql("SELECT fence FROM beacon_lease") == 1
    await ann.lease.release()
    others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'beacon lease' AND datname = $1"
    database = world.url.rpartition("/")[2]
    async with asyncio.timeout(PATIENCE_S):
        while await world.sql(others, database):
            pass


@pytest.mark.parametrize(
    ("spoil", "hindrance"),
    [
        pytest.param(lambda url: url + "_missing", Hindrance.REFUSED, id="no-such-database"),
        pytest.param(
            lambda url: url.replace("//postgres", "//mallory"), Hindrance.REFUSED, id="no-such-user"
        ),
        pytest.param(lambda url: url + "?sslmode=require", Hindrance.REFUSED, id="no-tls"),
        pytest.param(lambda url: url.replace("127.0.0.1", "127.0.0.1:1x"), Hindrance.REFUSED, id="no-url"),
        pytest.param(
            lambda url: "postgres://postgres:secret-word@127.0.0.1:1/x", Hindrance.UNREACHABLE, id="no-server"
        ),
    ],
)
async def test_trouble_is_told_without_a_word_of_the_url(
    world: World, spoil: Callable[[str], str], hindrance: Hindrance
) -> None:
    process = world.process(url=spoil(world.url))
    with capture_logs() as logs:
        process.asks()
        await process.hindered(hindrance)
        await process.passes(ASK_EVERY_S)
        await process.settles()
    assert process.told == [hindrance]
    assert [line["event"] for line in logs] == ["lease.hindered"]
    for word in ("secret-word", "127.0.0.1", "mallory", "test_"):
        assert word not in repr(logs)


async def test_a_user_that_may_not_make_the_table_is_refused_until_it_is_there(world: World) -> None:
    await world.sql("CREATE ROLE small LOGIN")
    try:
        small = world.process(url=world.url.replace("//postgres", "//small"))
        asking = small.asks()
        await small.hindered(Hindrance.REFUSED)
        await soon(world.process("another").asks())
        await world.sql("GRANT ALL ON beacon_lease TO small")
        await small.passes(ASK_EVERY_S)
        assert await soon(asking) == 1
        await small.end()
    finally:
        await world.sql("DROP OWNED BY small")
        await world.sql("DROP ROLE small")


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        pytest.param("postgres://u:p@ec2-1.compute.amazonaws.com:5432/d", "require", id="heroku"),
        pytest.param("postgresql://u@db.example/d?connect_timeout=3", "require", id="another-machine"),
        pytest.param("postgres://u@10.0.0.5,10.0.0.6/d", "require", id="two-machines"),
        pytest.param("postgres://u@db.example/d?sslmode=verify-full", None, id="the-url-says"),
        pytest.param("postgres://u@db.example/d?sslmode=disable", None, id="the-url-forbids"),
        pytest.param("postgres://u@localhost/d", None, id="this-machine"),
        pytest.param("postgres://u@127.0.0.1:5433/d", None, id="loopback"),
        pytest.param("postgres:///d?host=/var/run/postgresql", None, id="unix-socket"),
        pytest.param("postgres:///d?host=db.example", "require", id="host-in-the-query"),
    ],
)
def test_another_machine_is_spoken_to_over_tls_unless_the_url_says_otherwise(
    url: str, mode: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGSSLMODE", raising=False)
    assert tls_mode(url) == mode

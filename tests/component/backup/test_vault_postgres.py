"""What PostgreSQL adds to the promises: lines that are cut, locks, connections, its schema."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import asyncpg
import pytest

from service.backup.postgres_statements import OWN, SETTINGS
from service.backup.vault_postgres import SCHEMA, PostgresVault
from service.errors import FenceTooOld, StoreTooNew, VaultUnavailable
from tests.component.backup.sealing import backup, chunks
from tests.component.postgres import Postgres
from tests.component.queue.cutter import Cut, cutter

OURS = """
    FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'beacon backup' AND state IS NOT NULL"""

Start = Callable[..., Awaitable[PostgresVault]]


@pytest.fixture
async def start(vault_url: str, account: str) -> AsyncIterator[Start]:
    """Vaults as of several processes."""
    async with AsyncExitStack() as stack:

        async def start(
            *, url: str = vault_url, deadline_s: float = 10.0, idle_s: float = 30.0
        ) -> PostgresVault:
            vault = PostgresVault(url, account=account, deadline_s=deadline_s, idle_s=idle_s)
            stack.push_async_callback(vault.close)
            await vault.open()
            return vault

        yield start


async def reached(look: asyncpg.Connection, condition: str, count: int) -> None:
    """As many of our connections are in that state."""
    found = None
    try:
        async with asyncio.timeout(60):
            while found != count:
                await look.execute("SELECT pg_stat_clear_snapshot()")
                found = await look.fetchval(f"SELECT count(*) {OURS} AND {condition}")
    except TimeoutError:
        raise AssertionError(f"{found} connections where {condition}, not {count}") from None


# --- a line that is cut -------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", Cut)
async def test_a_backup_whose_commit_was_cut_off_is_kept_once(
    postgres: Postgres, vault_url: str, start: Start, cut: Cut
) -> None:
    async with cutter(postgres.port) as (cutting, port):
        vault = await start(url=vault_url.replace(f":{postgres.port}/", f":{port}/"))
        cutting.cut = cut
        await vault.put(backup(1, chunks("a")), chunks("a"), epoch=1)
        assert cutting.cuts == 1
        assert [kept.sequence for kept in await vault.listed()] == [1]
        assert await vault.chunks(list(chunks("a"))) == chunks("a")
        await vault.close()


@pytest.mark.parametrize("cut", Cut)
async def test_an_epoch_whose_commit_was_cut_off_is_entered_once(
    postgres: Postgres, vault_url: str, start: Start, cut: Cut
) -> None:
    """Else a clean backup of the epoch before would look older than it is."""
    async with cutter(postgres.port) as (cutting, port):
        vault = await start(url=vault_url.replace(f":{postgres.port}/", f":{port}/"))
        cutting.cut = cut
        assert await vault.enter() == 1
        assert cutting.cuts == 1
        assert await vault.enter() == 2
        await vault.close()


@pytest.mark.parametrize("cut", Cut)
async def test_cut_off_for_good_a_backup_is_there_whole_or_not_at_all(
    postgres: Postgres, vault_url: str, start: Start, cut: Cut
) -> None:
    parts = chunks("a", "b")
    async with cutter(postgres.port) as (cutting, port):
        vault = await start(url=vault_url.replace(f":{postgres.port}/", f":{port}/"))
        cutting.cut, cutting.stays_closed = cut, True
        with pytest.raises(VaultUnavailable):
            await vault.put(backup(1, parts), parts, epoch=1)
        await vault.close()
    other = await start()
    listed = await other.listed()
    assert await other.missing(parts) == (set() if listed else set(parts))
    await other.put(backup(1, parts), parts, epoch=1)  # whoever did not know asks again
    assert [kept.sequence for kept in await other.listed()] == [1]


async def test_cut_off_in_the_middle_of_a_backup_it_is_sent_again(
    start: Start, look: asyncpg.Connection, account: str
) -> None:
    vault = await start()
    await vault.enter()
    parts = chunks("a", "b")
    async with look.transaction():
        await look.fetch("SELECT FROM beacon_backup_owner WHERE account = $1 FOR UPDATE", account)
        putting = asyncio.create_task(vault.put(backup(1, parts), parts, epoch=1))
        await reached(look, "wait_event_type = 'Lock'", 1)
        await look.fetch(f"SELECT pg_terminate_backend(pid) {OURS}")
    await putting
    assert await vault.chunks(list(parts)) == parts
    assert len(await vault.listed()) == 1


async def test_cut_off_twice_nothing_is_left_of_it(
    start: Start, look: asyncpg.Connection, account: str
) -> None:
    vault = await start()
    await vault.enter()
    parts = chunks("a", "b")
    async with look.transaction():
        await look.fetch("SELECT FROM beacon_backup_owner WHERE account = $1 FOR UPDATE", account)
        putting = asyncio.create_task(vault.put(backup(1, parts), parts, epoch=1))
        ended: set[int] = set()
        while len(ended) < 2:
            await reached(look, "wait_event_type = 'Lock'", 1)
            for (process,) in await look.fetch(f"SELECT pid {OURS} AND wait_event_type = 'Lock'"):
                ended.add(process)
                await look.fetch("SELECT pg_terminate_backend($1)", process)
        with pytest.raises(VaultUnavailable):
            await putting
    assert list(await vault.listed()) == []
    assert await vault.missing(parts) == set(parts)


async def test_a_database_that_hangs_is_unavailable_in_time(postgres: Postgres, start: Start) -> None:
    vault = await start(deadline_s=2.0)
    fresh = PostgresVault(vault._url, account="fresh", deadline_s=2.0)
    postgres.pause()
    try:
        async with asyncio.timeout(60):
            for call in (
                vault.listed(),
                vault.put(backup(1, chunks("a")), chunks("a"), epoch=1),
                fresh.open(),
            ):
                with pytest.raises(VaultUnavailable, match="no answer in time"):
                    await call
    finally:
        postgres.resume()
    assert list(await vault.listed()) == []


# --- owners and locks ---------------------------------------------------------------------------------


async def test_a_new_owner_enters_at_once_while_the_old_one_still_sends(
    start: Start, look: asyncpg.Connection, account: str
) -> None:
    old, new = await start(), await start()
    epoch = await old.enter()
    (held,) = chunks("a")
    sending = look.transaction()
    await sending.start()
    await look.execute(
        "INSERT INTO beacon_backup_chunk (account, id, data) VALUES ($1, $2, '')", account, held
    )
    putting = asyncio.create_task(old.put(backup(1, chunks("a")), chunks("a"), epoch=epoch))
    await reached(look, "wait_event_type = 'Lock'", 1)

    assert await new.enter() == epoch + 1

    await sending.rollback()
    with pytest.raises(FenceTooOld):
        await putting
    assert list(await new.listed()) == []
    assert await new.missing(chunks("a")) == set(chunks("a"))


async def test_chunks_that_a_backup_on_its_way_counts_on_are_passed_over(
    start: Start, look: asyncpg.Connection, account: str
) -> None:
    keeper, pruner = await start(), await start()
    await keeper.put(backup(1, chunks("a", "b")), chunks("a", "b"), epoch=1)
    (held,) = chunks("c")
    sending = look.transaction()
    await sending.start()
    await look.execute(
        "INSERT INTO beacon_backup_chunk (account, id, data) VALUES ($1, $2, '')", account, held
    )
    putting = asyncio.create_task(keeper.put(backup(2, chunks("a", "c")), chunks("c"), epoch=1))
    await reached(look, "wait_event_type = 'Lock'", 1)

    await pruner.forget([1])

    await sending.rollback()
    await putting
    assert await pruner.chunks(list(chunks("a", "c"))) == chunks("a", "c")
    assert await pruner.missing(chunks("b")) == set(chunks("b"))


async def test_an_owner_that_was_stopped_before_its_commit_does_not_keep_the_next_one_out(
    start: Start, look: asyncpg.Connection, account: str
) -> None:
    vault = await start()
    cut_off = asyncio.Event()
    look.add_termination_listener(lambda _: cut_off.set())
    await look.execute("BEGIN;" + SETTINGS)
    assert await look.fetchval(OWN, account, 1) == 1
    assert await vault.enter() == 1, "what the stopped one did is taken back"
    await cut_off.wait()  # until then asyncpg may still be reading what the server said last
    with pytest.raises(asyncpg.InterfaceError, match="closed"):
        await look.execute("COMMIT")


# --- connections and schema ---------------------------------------------------------------------------


async def test_connections_that_nobody_uses_are_given_back(start: Start, look: asyncpg.Connection) -> None:
    vault = await start(idle_s=0.05)
    await asyncio.gather(*(vault.put(backup(1, chunks("a")), chunks("a"), epoch=1) for _ in range(4)))
    await reached(look, "true", 0)
    assert len(await vault.listed()) == 1


async def test_no_more_than_two_connections_are_made(
    start: Start, look: asyncpg.Connection, account: str
) -> None:
    vault = await start()
    await vault.enter()
    async with look.transaction():
        await look.fetch("SELECT FROM beacon_backup_owner WHERE account = $1 FOR UPDATE", account)
        entering = [asyncio.create_task(vault.enter()) for _ in range(5)]
        await reached(look, "wait_event_type = 'Lock'", 2)
        assert await look.fetchval(f"SELECT count(*) {OURS}") == 2
    assert sorted(await asyncio.gather(*entering)) == [2, 3, 4, 5, 6]


async def test_kept_means_on_disk_whatever_the_servers_default_is(postgres: Postgres, start: Start) -> None:
    name = await postgres.create()
    admin: asyncpg.Connection = await asyncpg.connect(postgres.url(name))
    try:
        await admin.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        vault = await start(url=postgres.url(name))
        await admin.execute("""
            CREATE TABLE seen (setting text);
            CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN new; END $$;
            CREATE TRIGGER see BEFORE INSERT ON beacon_backup FOR EACH ROW EXECUTE FUNCTION see()""")
        await vault.put(backup(1, chunks("a")), chunks("a"), epoch=1)
        assert await admin.fetchval("SELECT setting FROM seen") == "on"
    finally:
        await admin.close()


async def test_a_newer_schema_is_refused_and_left_alone(postgres: Postgres, start: Start) -> None:
    url = postgres.url(await postgres.create())
    await start(url=url)
    connection: asyncpg.Connection = await asyncpg.connect(url)
    try:
        await connection.execute("INSERT INTO beacon_backup_migration (number) VALUES (9999)")
        with pytest.raises(StoreTooNew, match="backup schema 9999"):
            await start(url=url)
        assert await connection.fetchval("SELECT count(*) FROM beacon_backup") == 0
    finally:
        await connection.close()


async def test_processes_that_start_at_once_make_the_tables_once(postgres: Postgres, start: Start) -> None:
    url = postgres.url(await postgres.create())
    one, *others = await asyncio.gather(*(start(url=url) for _ in range(3)))
    await one.put(backup(1, chunks("a")), chunks("a"), epoch=1)
    for other in others:
        assert len(await other.listed()) == 1


@pytest.mark.parametrize("at", ["'NaN'", "'infinity'", "'-infinity'", "1e300", "-1"])
async def test_a_backup_whose_times_are_damaged_is_listed_all_the_same(
    start: Start, look: asyncpg.Connection, account: str, at: str
) -> None:
    vault = await start()
    await vault.put(backup(1, chunks("a")), chunks("a"), epoch=1)
    await look.execute(
        f"UPDATE beacon_backup SET taken_at = {at}, verified_at = {at} WHERE account = $1", account
    )
    (kept,) = await vault.listed()
    assert (kept.sequence, kept.taken_at, kept.verified_at) == (1, 0.0, None)


def test_migrations_are_numbered_without_gaps() -> None:
    known = SCHEMA.migrations()
    assert sorted(known) == list(range(1, len(known) + 1))


@pytest.mark.parametrize(
    "url", ["postgres://beacon:secret-word@127.0.0.1:1/x", "postgres://beacon:secret-word@[/x"]
)
async def test_a_database_that_cannot_be_reached_is_unavailable_and_no_secret_is_told(url: str) -> None:
    vault = PostgresVault(url, account="a")
    with pytest.raises(VaultUnavailable) as refusal:
        await vault.open()
    assert "secret-word" not in str(refusal.value)
    with pytest.raises(VaultUnavailable, match="not open"):
        await vault.listed()

"""A session in PostgreSQL is brought back as one in a file is, and each can take the other's place."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from service.backup.custody import Hurdle
from service.backup.custody_postgres import PostgresCustody
from service.backup.home_postgres import PostgresHome
from service.backup.local import Found, Lineage
from service.backup.model import Cause, RestoreKind
from service.backup.report import Outcome
from service.engine.session_postgres import PostgresSession
from service.errors import StoreError
from tests.component.backup.house import ANOTHER_KEY
from tests.component.backup.town import ACCOUNT, LOST, RATCHETS, Town, kept
from tests.component.postgres import Postgres
from tests.unit.backup.whole import WholeSession, rows_of


@pytest.mark.parametrize("clean", [True, False], ids=["stopped", "killed"])
async def test_a_lost_session_comes_back_as_it_is_or_without_its_ratchets(town: Town, clean: bool) -> None:
    first = await kept(town, clean=clean)
    before, named = await town.rows(first), await first.home.identity()
    await town.ask(LOST)

    second = await town.house()
    await second.takes_over(2)
    restored = second.backups.status().restore
    assert restored is not None
    now = await town.rows(second)
    if clean:
        assert restored.kind is RestoreKind.EXACT
        assert now == before
        assert await second.home.identity() == named
    else:
        assert restored.kind is RestoreKind.RATCHETS_DROPPED
        assert restored.sessions_dropped == 20
        assert now == before | {table: set() for table in RATCHETS}
        assert await second.home.identity() != named
    report = await second.backups.back_up(Cause.CHANGED)
    assert report.outcome is Outcome.KEPT, "it may write"
    assert report.stored_bytes < report.size_bytes / 4, "and stores what is new alone"


@pytest.mark.parametrize("damage", ["DROP TABLE whatsmeow_contacts", "DELETE FROM whatsmeow_version"])
async def test_a_damaged_session_is_set_aside_and_the_backup_takes_its_place(town: Town, damage: str) -> None:
    first = await kept(town, clean=True)
    before = await town.rows(first)
    await town.ask(damage)

    second = await town.house()
    await second.takes_over(2)
    assert await town.rows(second) == before
    aside = f'"bad-{int(town.clock.now())} whatsmeow_device"'
    assert await town.ask(f"SELECT count(*) FROM {aside}") == 1


async def test_a_session_of_which_a_page_is_torn_is_a_damaged_one(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        with Postgres() as own:
            town = Town(tmp_path, own.url(), stack)
            first = await kept(town, clean=True)
            before = await town.rows(first)
            page = await town.ask("CHECKPOINT", "SELECT pg_relation_filepath('whatsmeow_contacts')")
            own.kill()
            own.scribble(page)
            own.start()
            assert (await first.backups.back_up(Cause.ASKED)).outcome is not Outcome.KEPT

            second = await town.house()
            await second.takes_over(2)
            assert await town.rows(second) == before


async def test_after_a_restart_what_is_new_is_stored_and_no_more(town: Town) -> None:
    await kept(town, clean=False, rows=500)
    await town.ask(
        "INSERT INTO whatsmeow_message_secrets SELECT our_jid, 'chat_jid Ä 5', 'somebody', 'an id', key "
        "FROM whatsmeow_message_secrets LIMIT 1",
        "DELETE FROM whatsmeow_identity_keys WHERE their_id < 'their_id Ä 2'",
    )
    second = await town.house()
    await second.takes_over(2)
    report = await second.backups.back_up(Cause.CHANGED)
    assert report.outcome is Outcome.KEPT
    assert report.stored_bytes < report.size_bytes / 20


async def test_a_good_session_is_used_as_it_is_whatever_is_in_the_vault(town: Town) -> None:
    first = await kept(town, clean=False)
    await town.ask("UPDATE whatsmeow_device SET push_name = 'newer'")
    before = await town.rows(first)
    second = await town.house()
    await second.takes_over(2)
    assert await town.rows(second) == before
    assert second.backups.status().restore is None


async def test_a_session_that_somebody_else_may_have_had_loses_its_ratchets(town: Town) -> None:
    await kept(town, clean=False)
    second = await town.house()
    await second.takes_over(3)  # under the lease 2 somebody did not open this session
    assert await town.ask("SELECT count(*) FROM whatsmeow_sessions") == 0
    assert await town.ask("SELECT count(*) FROM whatsmeow_contacts") == 20


async def test_a_session_goes_from_a_file_into_the_database_and_back(town: Town) -> None:
    first = await town.house(in_file=True)
    await first.takes_over(1)
    session = WholeSession(first.folder / "linked.db").make()
    session.path.replace(first.path)
    first.local.adopt()
    before = rows_of(first.path)
    await first.leaves()

    second = await town.house()
    await second.takes_over(2)
    assert await town.rows(second) == before
    await town.ask("UPDATE whatsmeow_device SET push_name = 'in the database'")
    after = await town.rows(second)
    await second.leaves()

    third = await town.house(in_file=True)
    await third.takes_over(3)
    assert rows_of(third.path) == after
    kinds = [house.backups.status().restore.kind for house in (second, third)]  # type: ignore[union-attr]
    assert kinds == [RestoreKind.EXACT] * 2

    await third.leaves()
    fourth = await town.house()
    await fourth.takes_over(4)
    assert await town.rows(fourth) == after
    stale = f'"stale-{int(town.clock.now())} whatsmeow_device"'
    assert await town.ask(f"SELECT count(*) FROM {stale}") == 1, "the one that the file had overtaken"


async def test_a_cleared_session_does_not_come_back_until_another_was_linked(town: Town) -> None:
    first = await kept(town, clean=True)
    assert isinstance(first.home, PostgresHome)
    session = PostgresSession(town.url, account=ACCOUNT, path=town.folder / "session.db")
    await session.open(fence=1)
    await asyncio.to_thread(session.remove)

    second = await town.house()
    await second.takes_over(2)
    assert await second.home.look() is Found.NOTHING
    await town.link(second, seed=2)
    assert (await second.backups.back_up(Cause.PAIRED)).outcome is Outcome.KEPT
    await second.leaves()
    assert not await second.home.cleared()


async def test_none_is_not_the_same_as_one_that_cannot_be_read(town: Town) -> None:
    first = await town.house()
    await first.takes_over(1)
    assert await first.home.look() is Found.NOTHING, "no backup: a phone can be linked"
    await town.link(first)
    await first.leaves()
    await town.ask(LOST)

    second = await town.house(keys=(ANOTHER_KEY,))
    await second.begins_to_take_over(2)
    assert not await second.admitted(120.0)
    await second.gives_up()
    assert second.hurdles == [Hurdle.BACKUP_KEY_MISSING]
    assert await second.home.look() is Found.NOTHING, "nothing was written"


async def test_nothing_takes_the_place_of_a_session_that_can_be_used(town: Town) -> None:
    first = await kept(town, clean=True)
    before = await town.rows(first)
    other = WholeSession(town.folder / "other.db", seed=9).make()
    with pytest.raises(StoreError, match="in the way"):
        await first.home.replace(other.path, identity=None, aside=None, now=0.0)
    assert await town.rows(first) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda home, other: home.replace(other, identity=None, aside="stale", now=0.0),
        lambda home, _: home.set_aside("bad", now=0.0),
        lambda home, _: home.drop_ratchets(),
        lambda home, _: home.note(epoch=1, fence=1),
        lambda home, _: home.open(1),
    ],
    ids=["replace", "set aside", "drop ratchets", "note", "open"],
)
async def test_who_was_slow_changes_nothing_once_a_later_owner_has_opened_the_session(
    town: Town, change: Callable[[PostgresHome, Path], Awaitable[object]]
) -> None:
    first = await kept(town, clean=False)
    second = await town.house()
    await second.takes_over(2)
    before, noted = await town.rows(second), await second.home.lineage()
    other = WholeSession(town.folder / "other.db", seed=9).make()
    assert isinstance(first.home, PostgresHome)
    with pytest.raises(StoreError, match="opened under fence 2, ours is 1"):
        await change(first.home, other.path)
    assert await town.rows(second) == before
    assert await second.home.lineage() == noted


async def test_what_was_undone_is_not_brought_back_as_it_is(town: Town) -> None:
    """The database is another than it was: what it says of leases may be of the past."""
    await kept(town, clean=True)
    await town.ask(
        "UPDATE beacon_session SET origin = 'another server'",
        "DROP TABLE whatsmeow_device, whatsmeow_version CASCADE",
        "DROP TABLE whatsmeow_sessions",
    )
    second = await town.house()
    await second.takes_over(2)
    restored = second.backups.status().restore
    assert restored is not None
    assert restored.kind is RestoreKind.RATCHETS_DROPPED
    assert not await second.home.open(2), "seen to, once"


async def test_a_change_in_the_tables_is_backed_up_and_nothing_else_is(town: Town) -> None:
    first = await kept(town, clean=False)
    seen = await first.home.signature()
    assert seen
    assert await first.home.signature() == seen
    await town.ask("UPDATE whatsmeow_device SET push_name = 'changed'")
    async with asyncio.timeout(60):
        while await first.home.signature() == seen:
            await asyncio.sleep(0.1)
    assert (await first.backups.back_up(Cause.CHANGED)).outcome is Outcome.KEPT
    assert (await first.backups.back_up(Cause.INTERVAL)).outcome is Outcome.UNCHANGED


async def test_those_without_backups_do_not_look_like_strangers_later(town: Town) -> None:
    first = await kept(town, clean=False)
    between = await town.house()
    await PostgresCustody(between.home, clock=town.clock).admit(2, lambda _: None)
    assert await between.home.lineage() == Lineage(
        identity=await first.home.identity(), epoch=1, fence=2, adopted=False
    )
    third = await town.house()
    await third.takes_over(3)
    assert await town.ask("SELECT count(*) FROM whatsmeow_sessions") == 20


async def test_a_session_that_an_earlier_beacon_opened_is_used_as_it_is(town: Town) -> None:
    """It kept a name and an origin, knew nothing of leases, and made no backups."""
    first = await kept(town, clean=False)
    before, named = await town.rows(first), await first.home.identity()
    columns = [
        f"ALTER TABLE beacon_session DROP COLUMN {it}" for it in ("fence", "undone", "cleared", "lineage")
    ]
    await town.ask(*columns)
    shutil.rmtree(town.folder / "vault")

    second = await town.house()
    await second.takes_over(7)
    assert await second.home.identity() == named
    assert (await second.backups.back_up(Cause.INTERVAL)).outcome is Outcome.KEPT
    assert await town.rows(second) == before


async def test_the_latest_three_that_were_set_aside_stay(town: Town) -> None:
    first = await kept(town, clean=True)
    path = town.folder / "linked.db"
    WholeSession(path).make()
    for second in range(5):
        await first.home.replace(path, identity=None, aside="stale", now=1000.0 + second)
    names = "SELECT array_agg(tablename::text ORDER BY 1) FROM pg_tables WHERE tablename LIKE '% %_device'"
    assert await town.ask(names) == [f"stale-{second} whatsmeow_device" for second in (1002, 1003, 1004)]
    assert await first.home.look() is Found.DEVICE


async def test_without_its_database_the_session_waits_and_a_backup_fails_and_says_so(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        with Postgres() as own:
            town = Town(tmp_path, own.url(), stack)
            first = await kept(town, clean=False)
            own.kill()
            report = await first.backups.back_up(Cause.ASKED)
            assert report.outcome is Outcome.FAILED
            assert "session database" in report.sentence
            assert await first.home.signature() == ()

            second = await town.house()
            await second.begins_to_take_over(2)
            assert not await second.admitted(60.0)
            assert second.hurdles == [Hurdle.SESSION_UNREACHABLE]
            own.start()
            assert await second.admitted(10.0)

"""`beacon backup restore` with the session in a real PostgreSQL: under the lease, by the rules for a file."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from service.backup.by_hand import restore_in_place
from service.backup.local import Found
from service.backup.model import Cause
from service.backup.progress import Doings, Step
from service.backup.report import Outcome
from service.cli import main
from service.clock import SystemClock
from service.engine.session_postgres import PostgresSession
from service.reconnect.lease_beside import held_beside
from tests.component.backup.house import ANOTHER_KEY, KEY, House
from tests.component.backup.town import ACCOUNT, LOST, RATCHETS, Town, kept
from tests.component.postgres import Postgres


async def restore(town: Town, *arguments: str, key: str = KEY) -> tuple[int, Any, str]:
    """Exit code, the answer and stderr of `beacon backup restore ARGUMENTS --json`, on another machine."""
    env = {
        "BACKUP_DIR": str(town.folder / "vault"),
        "BACKUP_KEYS": key,
        "DATABASE_URL": town.url,
        "DATA_DIR": str(town.folder / "terminal"),
        "SESSION_STORE": "postgres",
    }
    command = ["backup", "restore", *arguments, "--json"]
    done = await asyncio.to_thread(CliRunner().invoke, main, command, env=env)
    return done.exit_code, json.loads(done.stdout or "null"), done.stderr


@asynccontextmanager
async def owned(town: Town) -> AsyncIterator[int]:
    """The lease, as a service has it; its number."""
    async with held_beside(town.url, account=ACCOUNT, clock=SystemClock()) as fence:
        yield fence


async def served(town: Town, *, clean: bool) -> House:
    """A service has linked a phone, kept the session, and ended."""
    async with owned(town) as fence:
        return await kept(town, clean=clean, fence=fence)


async def next_service(town: Town) -> House:
    """The one that starts after that, on another machine."""
    house = await town.house()
    async with owned(town) as fence:
        await house.takes_over(fence)
    assert house.backups.status().restore is None, "what was restored by hand is not replaced"
    return house


async def tables(town: Town) -> list[str]:
    """The names of all tables of the session, those that were set aside too."""
    named = "SELECT array_agg(tablename::text ORDER BY 1) FROM pg_tables WHERE schemaname = $$%s$$"
    return list(await town.ask(named % f"beacon_session_{ACCOUNT}") or [])


@pytest.mark.parametrize("clean", [True, False], ids=["stopped", "killed"])
async def test_lost_tables_come_back_as_they_were_or_without_their_ratchets(town: Town, clean: bool) -> None:
    before = await town.rows(await served(town, clean=clean))
    await town.ask(LOST)

    code, restored, err = await restore(town)
    assert (code, restored["sequence"]) == (0, 2 if clean else 1), err
    kind, dropped = ("exact", 0) if clean else ("ratchets_dropped", 20)
    assert (restored["kind"], restored["sessions_dropped"]) == (kind, dropped)

    second = await next_service(town)
    assert await town.rows(second) == (before if clean else before | {table: set() for table in RATCHETS})
    assert (await second.backups.back_up(Cause.CHANGED)).outcome is Outcome.KEPT, "it may write"


async def test_what_stopped_is_brought_back_as_it_is_once_and_no_more(town: Town) -> None:
    await served(town, clean=True)
    await town.ask(LOST)
    assert (await restore(town))[1]["kind"] == "exact"
    _, again, _ = await restore(town, "--force")
    assert again["kind"] == "ratchets_dropped", "somebody may have used what came back first"


async def test_an_older_backup_never_keeps_its_ratchets(town: Town) -> None:
    await served(town, clean=True)
    await town.ask(LOST)
    _, restored, _ = await restore(town, "1")
    assert (restored["sequence"], restored["kind"]) == (1, "ratchets_dropped")


async def test_a_session_that_can_be_used_is_in_the_way_and_stays_what_it_was(town: Town) -> None:
    first = await served(town, clean=False)
    before, named = await town.rows(first), await first.home.identity()
    code, answer, err = await restore(town)
    assert (code, answer) == (73, None)
    assert "schema beacon_session_default: a session that can be used is there; --force moves it aside" in err

    second = await next_service(town)
    assert await town.rows(second) == before, "ratchets, too: nobody had it meanwhile"
    assert await second.home.identity() == named


async def test_with_force_the_session_that_was_there_is_set_aside(town: Town) -> None:
    first = await served(town, clean=False)
    named = await first.home.identity()
    await town.ask("UPDATE whatsmeow_device SET push_name = 'newer'")
    code, _, err = await restore(town, "--force")
    assert code == 0, err
    (aside,) = [table for table in await tables(town) if table.endswith(" whatsmeow_device")]
    assert aside.startswith("replaced-")
    assert await town.ask(f'SELECT push_name FROM "{aside}"') == "newer"
    assert await town.ask("SELECT push_name FROM whatsmeow_device") != "newer"
    second = await next_service(town)
    assert await second.home.identity() != named, "ids of messages that were sent since cannot be found in it"


async def test_a_damaged_session_is_set_aside_unasked(town: Town) -> None:
    await served(town, clean=False)
    await town.ask("DROP TABLE whatsmeow_contacts")
    assert (await restore(town))[0] == 0
    assert any(table.startswith("replaced-") for table in await tables(town))
    assert await town.ask("SELECT count(*) FROM whatsmeow_contacts") == 20


async def test_a_session_that_was_cleared_everywhere_comes_back_for_who_asks(town: Town) -> None:
    async with owned(town) as fence:
        first = await kept(town, clean=False, fence=fence)
        session = PostgresSession(town.url, account=ACCOUNT, path=town.folder / "session.db")
        await session.open(fence=fence)
        await asyncio.to_thread(session.remove)
        assert await first.custody.bury()
    idle = await next_service(town)
    assert await idle.home.look() is Found.NOTHING, "it does not come back by itself"

    code, restored, err = await restore(town)
    assert (code, restored["kind"]) == (0, "ratchets_dropped"), err
    second = await next_service(town)
    assert await second.home.look() is Found.DEVICE
    assert not await second.home.cleared()
    await second.leaves()
    await town.ask(LOST)
    third = await town.house()
    async with owned(town) as fence:
        await third.takes_over(fence)
    assert third.backups.status().restore is not None, "what was kept since comes back by itself again"


async def test_a_service_that_has_the_account_must_be_stopped_first(town: Town) -> None:
    first = await served(town, clean=False)
    before = await town.rows(first)
    async with owned(town):
        code, answer, err = await restore(town, "--force")
    assert (code, answer) == (75, None)
    assert "ACCOUNT=default: a service that runs, perhaps elsewhere, has it; stop it first" in err
    assert await town.rows(first) == before


async def test_a_service_that_opened_the_session_later_is_not_disturbed(town: Town) -> None:
    """The lease's table was lost, and its numbers began anew."""
    first = await served(town, clean=False)
    await town.ask("UPDATE beacon_session SET fence = 40")
    before = await town.rows(first)
    code, _, err = await restore(town, "--force")
    assert (code, "opened under fence 40" in err) == (1, True)
    assert await town.rows(first) == before


async def test_a_backup_that_cannot_be_read_leaves_what_is_there(town: Town) -> None:
    first = await served(town, clean=False)
    before, there = await town.rows(first), await tables(town)
    code, _, err = await restore(town, "--force", key=ANOTHER_KEY)
    assert (code, "not in BACKUP_KEYS" in err) == (78, True)
    assert (await restore(town, "9", "--force"))[0] == 66
    assert (await town.rows(first), await tables(town)) == (before, there)


async def test_what_a_recovered_database_says_of_leases_proves_nothing(town: Town) -> None:
    await served(town, clean=True)
    await town.ask(
        "UPDATE beacon_session SET origin = 'another server'",
        "DROP TABLE whatsmeow_device, whatsmeow_version CASCADE",
    )
    assert (await restore(town))[1]["kind"] == "ratchets_dropped"


async def test_it_is_told_how_far_it_is(town: Town) -> None:
    await served(town, clean=True)
    await town.ask(LOST)
    house, doings = await town.house(), Doings(town.clock)
    steps: list[str] = []
    doings.subscribe(lambda: steps.append(doings.now.step or "" if doings.now else ""))
    async with owned(town) as fence:
        with doings.begin("the session is being restored"):
            await house.shelf.vault.open()
            await restore_in_place(house.shelf, house.home, None, fence=fence, force=False, clock=town.clock)
    assert list(dict.fromkeys(filter(None, steps))) == [
        Step.FETCHING,
        Step.OPENING,
        Step.CHECKING,
        Step.PLACING,
    ]


async def test_nothing_readable_stays_on_the_disk(town: Town) -> None:
    await served(town, clean=True)
    await town.ask(LOST)
    assert (await restore(town))[0] == 0
    assert list((town.folder / "terminal" / "backup-work").iterdir()) == []


async def test_a_database_that_is_away_is_said_without_its_address(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        with Postgres() as own:
            town = Town(tmp_path, own.url(), stack)
            await served(town, clean=True)
            own.kill()
            code, _, err = await restore(town)
    assert (code, "the database does not answer" in err) == (75, True)
    assert "secret-word" not in err

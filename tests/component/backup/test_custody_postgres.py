"""A session in the database is not used before the database has been asked."""

import asyncio
from pathlib import Path

from service.backup.custody import Hurdle
from service.backup.custody_postgres import ASK_AGAIN_S, PostgresCustody
from service.backup.home_postgres import PostgresHome
from service.engine.session_postgres import PostgresSession
from tests.clock import FakeClock
from tests.component.postgres import Postgres

PATIENCE_S = 60.0


async def test_it_is_waited_for_until_the_database_answers_and_said_once_that_it_does_not(
    tmp_path: Path,
) -> None:
    clock, told, heard = FakeClock(), list[Hurdle](), asyncio.Event()

    def tell(hurdle: Hurdle) -> None:
        told.append(hurdle)
        heard.set()

    with Postgres() as postgres:
        postgres.kill()
        session = PostgresSession(postgres.url(), account="default", path=tmp_path / "session.db")
        admitting = asyncio.create_task(
            PostgresCustody(PostgresHome(session, mirror=tmp_path / "mirror.db"), clock=clock).admit(1, tell)
        )
        async with asyncio.timeout(PATIENCE_S):
            await heard.wait()
            await _asleep(clock)
            clock.advance(ASK_AGAIN_S)  # once more in vain
            await _asleep(clock)
            postgres.start()
            clock.advance(ASK_AGAIN_S)
            await admitting
    assert told == [Hurdle.SESSION_UNREACHABLE]
    assert session.identity()


async def test_a_database_that_refuses_is_told_apart_from_one_that_is_away(
    tmp_path: Path, postgres: Postgres
) -> None:
    session = PostgresSession(postgres.url("not_there"), account="default", path=tmp_path / "session.db")
    home = PostgresHome(session, mirror=tmp_path / "mirror.db")
    told: asyncio.Future[Hurdle] = asyncio.get_running_loop().create_future()
    admitting = asyncio.create_task(PostgresCustody(home, clock=FakeClock()).admit(1, told.set_result))
    try:
        assert await asyncio.wait_for(told, PATIENCE_S) is Hurdle.SESSION_REFUSED
    finally:
        admitting.cancel()
        await asyncio.gather(admitting, return_exceptions=True)


async def _asleep(clock: FakeClock) -> None:
    while not clock.sleeps:
        await asyncio.sleep(0.01)

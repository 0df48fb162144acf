"""The service's disk is lost, and everything that must survive is in the database."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.component.postgres import Postgres
from tests.e2e.test_backup import KEY, Dyno, dyno

ANOTHER_KEY = "1e" * 32


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


@pytest.fixture
async def bot(tmp_path: Path, server: Postgres) -> AsyncIterator[Dyno]:
    url = server.url(await server.create())
    async with dyno(tmp_path, DATABASE_URL=url, BACKUP_DIR="") as running:
        yield running


async def test_with_the_database_alone_the_very_session_comes_back_however_often(bot: Dyno) -> None:
    for turn in range(2):
        await bot.delivers(f"before {turn}")
        assert await bot.host.stop() == 0
        assert (await bot.starts_without_its_disk())["kind"] == "exact"
    await bot.delivers("after")
    await bot.answers()


async def test_a_key_that_is_not_ours_is_waited_for_and_nothing_is_lost(bot: Dyno) -> None:
    await bot.delivers("before")
    await bot.host.stop()
    bot.host.environment["BACKUP_KEYS"] = ANOTHER_KEY
    (bot.data / "session.db").unlink()
    await bot.host.start()
    waiting = await bot.host.until(lambda it: it["reason"] == "backup_key_missing")
    assert (waiting["state"], waiting["qr"]) == ("waiting_for_lease", None)
    assert await bot.host.stop() == 0

    bot.host.environment["BACKUP_KEYS"] = KEY
    await bot.starts_without_its_disk()
    await bot.delivers("after")

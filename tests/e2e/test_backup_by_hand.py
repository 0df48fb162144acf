"""`beacon backup restore` beside and after a real service whose session is in the database."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.component.postgres import Postgres
from tests.e2e.process import run_to_end
from tests.e2e.test_backup import Dyno, dyno
from tests.e2e.test_restore import AFTER, LATER, by_hand, send
from tests.people import ANN


@pytest.fixture
def database() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


async def clear(bot: Dyno) -> None:
    """Remove the session by mistake; a code to scan is shown then."""
    code, _, err = await run_to_end("session", "clear", "--yes", env=bot.host.environment)
    assert code == 0, err
    await bot.host.until(lambda session: session["qr"] is not None)


async def test_a_session_cleared_by_mistake_comes_back_without_a_scan_and_loses_no_message(
    tmp_path: Path, database: Postgres
) -> None:
    async with dyno(tmp_path, SESSION_STORE="postgres", DATABASE_URL=database.url()) as bot:
        await send(bot, ANN, ["before"], bot.ann)
        await bot.answers()
        await by_hand(bot)
        await send(bot, ANN, LATER, bot.ann)

        elsewhere = {**bot.host.environment, "DATA_DIR": str(tmp_path / "terminal")}
        code, _, err = await run_to_end("backup", "restore", "--force", env=elsewhere)
        assert (code, "stop it first" in err) == (75, True), err
        await clear(bot)
        assert await bot.host.stop() == 0

        code, out, err = await run_to_end("backup", "restore", "--json", env=elsewhere)
        assert code == 0, err
        restored = json.loads(out.splitlines()[-1])
        assert restored["kind"] == "ratchets_dropped"
        assert restored["sessions_dropped"] >= 1

        await bot.host.start()
        states = set()
        await bot.host.until(lambda it: states.add(it["state"]) or it["state"] == "connected")  # type: ignore[func-returns-value]
        assert "pairing" not in states, "nobody should have to scan"
        assert bot.said("backup.restored") == [], "it was there already"
        await send(bot, ANN, AFTER, bot.ann)
        await bot.answers()

"""Anything that is kept or in use is damaged, at random: what comes of it is a clear error, or the session as
a backup has it; never another one, never a wait without a word, and no good backup is worse off.

`MUTATIONS=500 python -m pytest tests/component/backup/test_mutations.py` does so five hundred times and
prints what came of it; another `MUTATIONS_SEED` makes other ones. Half are of the database's rows, each
column of each table in turn; a quarter of the files of a folder of backups; a quarter of the session in use,
as a killed process left it.
"""

import asyncio
import os
import re
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

import asyncpg
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from service.backup.keys import Keys
from service.backup.metrics import BackupMetrics
from service.backup.model import Cause
from service.backup.scratch import Scratch
from service.backup.shelf import Shelf
from service.backup.snapshot import RATCHETS
from service.backup.vault import Vault
from service.backup.vault_directory import DirectoryVault
from service.backup.vault_postgres import PostgresVault
from service.backup.views import KeptOut
from service.errors import BackupError, DataDirUnusable, StoreTooNew
from tests.clock import FakeClock
from tests.component.backup.damage import Files, Rows
from tests.component.backup.house import KEY, House
from tests.component.postgres import Postgres
from tests.unit.backup.sessions import Session

MANY: Final = int(os.environ.get("MUTATIONS", "0"))
SEED: Final = os.environ.get("MUTATIONS_SEED", "1")
FEW: Final = 12
HANGS_AFTER_S: Final = 30.0

pytestmark = pytest.mark.timeout(120 + 4 * MANY)

Contents = Mapping[str, list[str]]


def contents(path: Path) -> Contents:
    """Every row of every table of a session."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        database.text_factory = bytes  # which may be no text any more
        return {
            table: sorted(repr(row) for row in database.execute(f"SELECT * FROM {table}"))
            for (table,) in tables
        }


def without_ratchets(session: Contents) -> Contents:
    return {table: [] if table in RATCHETS else rows for table, rows in session.items()}


@dataclass
class Tally:
    """What came of how many, by what was damaged."""

    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: int = 0

    def __str__(self) -> str:
        lines = [f"{number:5}  {what:<34} {outcome}" for (what, outcome), number in sorted(self.seen.items())]
        total = Counter[str]()
        for (_, outcome), number in self.seen.items():
            total[outcome] += number
        lines += ["", *(f"{number:5}  {outcome}" for outcome, number in total.most_common())]
        lines += [f"{self.refused:5}  more that the database refuses"] if self.refused else []
        return "\n".join(lines)


@dataclass
class History:
    """Five backups of one account, the third and the last of them clean, made by two owners; and another
    account's beside them."""

    folder: Path
    vault: Callable[[str], Vault]
    clock: FakeClock
    kept: dict[int, Contents] = field(default_factory=dict)
    left: Contents = field(default_factory=dict)
    """What a killed process left of the session."""
    peers: list[int] = field(default_factory=list)
    numbers: Callable[[], int] = field(default_factory=lambda: count(1).__next__)

    @asynccontextmanager
    async def house(self, name: str = "", *, account: str = "ours") -> AsyncIterator[House]:
        """A process on a disk of its own, or on that of this name."""
        vault = self.vault(account)
        try:
            folder = self.folder / (name or f"house-{self.numbers()}")
            yield House(folder, vault, account=account, clock=self.clock)
        finally:
            await vault.close()
            if not name:
                shutil.rmtree(folder)

    async def make(self) -> None:
        """From the first link to the second owner's stop."""
        async with self.house("other", account="theirs") as other:
            await other.takes_over(1)
            other.pairs(seed=2)
            await other.leaves()
        async with self.house("first") as first:
            await first.takes_over(1)
            session = first.pairs()
            await first.backups.back_up(Cause.PAIRED)
            session.live()
            await first.backups.back_up(Cause.CHANGED)
            session.live()
            await first.leaves()
        async with self.house("second") as second:
            await second.takes_over(2)
            self.peers = session.peers
            session = self.writer(second.path)
            session.live()
            await second.backups.back_up(Cause.CHANGED)
            session.live()
            await second.leaves()
        self.kept = await self.readable()
        assert sorted(self.kept) == [1, 2, 3, 4, 5]

    def writer(self, path: Path) -> Session:
        """Who goes on with the session there."""
        session = Session(path, seed=self.numbers())
        session.peers = self.peers
        return session

    async def readable(self) -> dict[int, Contents]:
        """What somebody with the key can have of each backup."""
        vault, found = self.vault("ours"), {}
        keys = Keys.load((SecretStr(KEY),), key_file=self.folder / "no.key")
        shelf = Shelf(
            vault=vault,
            keys=keys,
            account="ours",
            scratch=Scratch(self.folder / "read"),
            clock=self.clock,
            metrics=BackupMetrics(CollectorRegistry(), "ours"),
        )
        try:
            await vault.open()
            for sequence in range(1, 6):
                async with shelf.scratch.file() as path:
                    try:
                        await shelf.fetch(sequence, path)
                    except BackupError:
                        continue
                    found[sequence] = contents(path)
        except (BackupError, StoreTooNew):
            pass
        finally:
            await vault.close()
        return found


async def starts(history: History, house: House, *, fence: int) -> str:
    """What becomes of a process that takes over; if a session comes back it is one that was kept."""
    try:
        await house.begins_to_take_over(fence)
    except (BackupError, DataDirUnusable) as error:
        return f"an error at the start: {type(error).__name__}"
    if not await house.admitted(within_s=2.0):
        assert house.hurdles, "it waits and says why"
        assert await house.file.device_jid() is None, "while it waits there is no session to be used"
        await house.gives_up()
        return f"waits: {house.hurdles[-1]}"
    if house.counted("restores_total", kind="exact"):
        assert contents(house.path) == history.kept[5], "as it is comes back only what it stopped with"
        return "the newest came back as it was"
    if house.counted("restores_total", kind="ratchets_dropped"):
        here = contents(house.path)
        found = [number for number, was in history.kept.items() if without_ratchets(was) == here]
        assert found, "what came back is a backup without its ratchets"
        return "the newest came back anew" if 5 in found else "an older one came back anew"
    return _here(history, house.path) if house.path.exists() else "nothing came back"


def _here(history: History, path: Path) -> str:
    here = contents(path)
    if not here.get("whatsmeow_device"):
        return "nothing came back"
    if here == history.left:
        return "used, unharmed"
    if here == without_ratchets(history.left):
        return "used anew"
    assert here != history.kept[5], "an earlier state is not used with its ratchets"
    if here == without_ratchets(history.kept[5]):
        return "an older state, used anew"
    return "used, with damage inside of a value"


async def goes_on(history: History, house: House, *, fence: int) -> None:
    """The session is used, and backed up: whoever comes next has that one, or hears that it was not kept."""
    if await house.file.device_jid() is not None:
        history.writer(house.path).live()
    report = await house.backups.back_up(Cause.CHANGED)
    for kept in await house.backups.listed():
        KeptOut.of(kept)  # it can be shown
    if not report.outcome.success:
        return
    was = without_ratchets(contents(house.path))
    async with history.house() as heir:
        await heir.takes_over(fence + 5)
        assert without_ratchets(contents(heir.path)) == was, "what is said to be kept comes back"


async def judged(history: History, *, on: str = "", fence: int = 3) -> str:
    """One life after the damage, and whether the good backups are as good as before."""
    async with asyncio.timeout(HANGS_AFTER_S):
        good = await history.readable()
        async with history.house(on) as house:
            outcome = await starts(history, house, fence=fence)
            if not outcome.startswith(("waits", "an error")):
                await goes_on(history, house, fence=fence)
        after = await history.readable()
    assert outcome != "nothing came back" or not good, "a phone is linked anew only where nothing is kept"
    for number, session in good.items():
        assert after.get(number) == session, f"backup {number} was good and is not any more"
    return outcome


# --- what is damaged ------------------------------------------------------------------------------------


@pytest.fixture
def tally(capsys: pytest.CaptureFixture[str]) -> Iterator[Tally]:
    """Printed when many were asked for."""
    counted = Tally()
    yield counted
    if MANY:
        with capsys.disabled():
            sys.stdout.write(f"\n{counted}\n")


async def test_whatever_row_of_the_database_is_damaged_no_wrong_session_comes_back(
    postgres: Postgres, tmp_path: Path, tally: Tally
) -> None:
    url = postgres.url(await postgres.create())
    history = History(tmp_path, lambda account: PostgresVault(url, account=account), FakeClock())
    await history.make()
    look: asyncpg.Connection = await asyncpg.connect(url)
    try:
        rows = await Rows.of(look)
        for number in range(MANY // 2 or len(rows.targets)):
            target = rows.targets[number % len(rows.targets)]
            rng = Random(f"{SEED} rows {number}")
            while not await rows.damage(target, rng):
                tally.refused += 1
            with told(f"rows {number} {target}"):
                outcome = await judged(history)
            tally.seen[".".join(target).removeprefix("beacon_"), outcome] += 1
            await rows.mend()
    finally:
        await look.close()


async def test_whatever_file_of_a_folder_of_backups_is_damaged_no_wrong_session_comes_back(
    tmp_path: Path, tally: Tally
) -> None:
    place = tmp_path / "place"
    history = History(tmp_path, lambda account: DirectoryVault(place, account=account), FakeClock())
    await history.make()
    files = Files.of(place / "ours", copy=tmp_path / "good")
    for number in range(MANY // 4 or FEW):
        what = files.damage(Random(f"{SEED} files {number}"))
        with told(f"files {number} {what}"):
            outcome = await judged(history)
        tally.seen[re.sub(r"chunks/.*", "chunks", re.sub(r"\d+", "N", what)), outcome] += 1
        files.mend()


async def test_whatever_is_damaged_of_the_session_in_use_no_good_backup_is_replaced(
    tmp_path: Path, tally: Tally
) -> None:
    place = tmp_path / "place"
    history = History(tmp_path, lambda account: DirectoryVault(place, account=account), FakeClock())
    await history.make()
    async with history.house("killed") as house:
        await house.takes_over(3)
        with closing(sqlite3.connect(house.path)) as writing:
            writing.execute("SELECT count(*) FROM whatsmeow_device").fetchone()
            history.writer(house.path).live()
            history.left = contents(house.path)
            left = Files.of(house.folder, copy=tmp_path / "left")
    left.mend()
    vaults = Files.of(place, copy=tmp_path / "good")
    for number in range(MANY // 4 or FEW):
        what = left.damage(Random(f"{SEED} session {number}"), only=lambda path: "session" in path.name)
        with told(f"session {number} {what}"):
            outcome = await judged(history, on="killed", fence=4)
        tally.seen[what, outcome] += 1
        left.mend()
        vaults.mend()


@contextmanager
def told(what: str) -> Iterator[None]:
    """Which one it was."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"mutation: {what}, MUTATIONS_SEED={SEED}")
        raise

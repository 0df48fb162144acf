"""Backups by themselves: after a change, every interval, and checked now and then."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.backup.model import Cause
from service.backup.tombstone import Tombstone
from service.backup.vault import Vault
from service.engine.protocol import Connected, Paired, Undecryptable
from tests.clock import FakeClock
from tests.component.backup.house import House
from tests.component.backup.places import InDirectory, Place
from tests.unit.backup.sessions import DEVICE, Session

PATIENCE_S = 60.0
HOUR = 3600.0


@dataclass
class Owner:
    """A process that owns the account; its scheduler runs."""

    house: House
    session: Session
    clock: FakeClock

    def runs(self, cause: Cause, outcome: str = "kept") -> float:
        return self.house.counted("runs_total", cause=cause.value, outcome=outcome)

    async def looks(self, times: int = 1) -> None:
        """The scheduler looks that often, 5 s apart."""
        for _ in range(times):
            await self.waits()
            self.clock.advance(5)
        await self.waits()

    async def waits(self) -> None:
        """It has done everything and sleeps."""
        async with asyncio.timeout(PATIENCE_S):
            while self.house.backups.status().progress or 5.0 not in self.clock.sleeps:
                await asyncio.sleep(0.001)

    async def until(self, fits: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not fits():
                await asyncio.sleep(0.001)


@pytest.fixture
async def owner(tmp_path: Path, vault: Vault, account: str) -> AsyncIterator[Owner]:
    clock = FakeClock()
    house = House(tmp_path / "data", vault, account=account, clock=clock)
    await house.takes_over(1)
    owner = Owner(house, house.pairs(), clock)
    running = asyncio.create_task(house.scheduler.run())
    await owner.looks(3)
    assert owner.runs(Cause.CHANGED) == 1, "what was there at the start"
    await owner.looks(6)
    yield owner
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_linked_phone_is_backed_up_at_its_first_login_and_not_before(owner: Owner) -> None:
    before = owner.runs(Cause.CHANGED)
    owner.house.scheduler.hear(Paired(jid=DEVICE))
    owner.session.live()
    await owner.looks(20)
    assert (owner.runs(Cause.PAIRED), owner.runs(Cause.CHANGED)) == (0, before), "without prekeys"
    owner.house.scheduler.hear(Connected(jid=DEVICE))
    await owner.until(lambda: owner.runs(Cause.PAIRED) == 1)
    owner.session.live()
    owner.house.scheduler.hear(Connected(jid=DEVICE))
    await owner.looks()
    assert owner.runs(Cause.PAIRED) == 1


async def test_a_change_is_backed_up_after_ten_quiet_seconds(owner: Owner) -> None:
    owner.session.live()
    await owner.looks(2)
    assert owner.runs(Cause.CHANGED) == 1
    await owner.looks(1)
    assert owner.runs(Cause.CHANGED) == 2


async def test_every_interval_there_is_one_whatever_happens(owner: Owner) -> None:
    await owner.looks(360)
    assert owner.runs(Cause.INTERVAL, "unchanged") == 1
    await owner.looks(360)
    assert owner.runs(Cause.INTERVAL, "unchanged") == 2


async def test_the_newest_is_checked_every_six_hours(owner: Owner) -> None:
    await owner.house.scheduler.back_up()
    owner.clock.advance(6 * HOUR - 60)
    await owner.looks(2)
    assert owner.house.counted("verifications_total", result="verified") == 0
    await owner.looks(12)
    assert owner.house.counted("verifications_total", result="verified") == 1
    assert owner.house.counted("last_verified_timestamp_seconds") > 0


async def test_a_backup_that_cannot_be_read_any_more_is_found_out(
    owner: Owner, place: Place, account: str
) -> None:
    if isinstance(place, InDirectory):
        await place.damage(account, 1)
    else:
        manifest = await owner.house.shelf.manifest(1)
        await place.lose(account, manifest.chunks[0].id)
    owner.clock.advance(6 * HOUR)
    await owner.looks(2)
    assert owner.house.counted("verifications_total", result="unreadable") == 1
    assert owner.house.backups.status().verify_trouble


async def test_the_backup_after_one_that_was_found_damaged_is_whole(
    owner: Owner, place: Place, account: str
) -> None:
    manifest = await owner.house.shelf.manifest(1)
    await place.spoil(account, manifest.chunks[0].id)
    owner.clock.advance(6 * HOUR)
    await owner.looks(2)
    assert owner.house.counted("verifications_total", result="unreadable") == 1
    await owner.looks(360)
    assert owner.runs(Cause.INTERVAL) == 1, "although nothing had changed"
    assert owner.house.backups.status().verify_trouble is None
    for sequence in (1, 2):
        await owner.house.backups.verify(sequence)


async def test_a_cleared_session_is_told_to_the_vault_however_long_that_is_away(
    owner: Owner, place: Place, vault: Vault
) -> None:
    async with place.away():
        owner.house.file.remove()
        await asyncio.to_thread(owner.house.file.prepare)
        await owner.looks(3)
    assert await vault.tombstone() is None
    await owner.looks()
    assert await vault.tombstone() == Tombstone(1, 1)

    owner.session = owner.house.pairs(seed=2)
    owner.house.scheduler.hear(Paired(jid=DEVICE))
    owner.house.scheduler.hear(Connected(jid=DEVICE))
    await owner.until(lambda: owner.runs(Cause.PAIRED) == 1)
    await owner.looks(3)
    assert await vault.tombstone() == Tombstone(1, 1), "the one that is linked then is not meant"


async def test_a_phone_that_is_linked_while_the_vault_is_away_is_backed_up_when_it_is_back(
    owner: Owner, place: Place, vault: Vault
) -> None:
    async with place.away():
        owner.house.file.remove()
        owner.session = owner.house.pairs(seed=2)
        owner.house.scheduler.hear(Paired(jid=DEVICE))
        owner.house.scheduler.hear(Connected(jid=DEVICE))
        await owner.looks(3)
    await owner.looks(14)
    assert (await vault.listed())[0].sequence == 2
    assert not owner.house.file.cleared


async def test_an_unlinked_device_is_told_to_the_vault_once_it_is_gone_here(
    owner: Owner, vault: Vault
) -> None:
    owner.house.scheduler.logged_out()
    await owner.looks()
    assert await vault.tombstone() is None, "the engine has it still"
    await owner.house.file.forget_device()
    await owner.looks()
    assert await vault.tombstone() == Tombstone(1, 1)


async def test_without_the_vault_it_goes_on_trying_and_says_so(owner: Owner, place: Place) -> None:
    async with place.away():
        owner.session.live()
        await owner.looks(11)
        assert owner.runs(Cause.CHANGED, "unreachable") == 2
        assert owner.house.backups.status().trouble
    await owner.looks(26)
    assert owner.runs(Cause.CHANGED) == 2
    assert owner.house.backups.status().trouble is None


async def test_an_owner_that_another_process_overtook_by_mistake_begins_anew(
    owner: Owner, vault: Vault
) -> None:
    await vault.enter()  # by somebody who had lost the lease, and was slow
    owner.session.live()
    await owner.looks(13)
    assert owner.runs(Cause.CHANGED, "fenced") == 1
    assert owner.runs(Cause.CHANGED) == 2
    assert owner.house.counted("epoch") == 3


async def test_old_backups_are_forgotten_as_new_ones_come(owner: Owner) -> None:
    for turn in range(30):
        owner.session.live(messages=1)
        await owner.house.scheduler.back_up()
        assert len(await owner.house.backups.listed()) <= 25, turn
    assert owner.house.counted("forgotten_total") >= 5


async def test_what_cannot_be_decrypted_counts_only_after_a_restore(
    owner: Owner, tmp_path: Path, vault: Vault, account: str
) -> None:
    owner.house.scheduler.hear(Undecryptable(id="3EB0"))
    assert owner.house.counted("undecryptable_total") == 0
    await owner.house.scheduler.back_up()
    second = House(tmp_path / "second", vault, account=account, clock=FakeClock())
    await second.takes_over(2)
    second.scheduler.hear(Undecryptable(id="3EB1"))
    assert second.counted("undecryptable_total") == 1
    assert second.backups.status().undecryptable == 1

"""Whoever takes an account over connects with the right session, or says what it waits for."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from service.backup.custody import Hurdle
from service.backup.model import Cause
from service.backup.report import Outcome
from service.backup.vault import Vault
from service.backup.vault_directory import DirectoryVault
from service.errors import BackupUnreadable, VaultFull, VaultUnavailable
from tests.clock import FakeClock
from tests.component.backup.house import ANOTHER_KEY, KEY, House
from tests.component.backup.places import InPostgres, Place
from tests.unit.backup.sessions import DEVICE

Build = Callable[..., House]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def house(tmp_path: Path, vault: Vault, account: str, clock: FakeClock) -> Build:
    """A process with a disk of its own, of that name; the vault is everybody's."""

    def build(name: str = "first", **options: object) -> House:
        return House(tmp_path / name, vault, account=account, clock=clock, **options)  # type: ignore[arg-type]

    return build


def read(path: Path, query: str) -> object:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchone()[0]


def peers_known(path: Path) -> object:
    """How many peers have a session that goes on."""
    return read(path, "SELECT count(*) FROM whatsmeow_sessions")


async def spoil(place: Place, account: str, sequence: int) -> None:
    """The manifest of a backup is not what it was."""
    if not isinstance(place, InPostgres):
        await place.damage(account, sequence)
        return
    connection: asyncpg.Connection = await asyncpg.connect(place.url)
    await connection.execute(
        "UPDATE beacon_backup SET manifest = overlay(manifest placing 'x' from 60) "
        "WHERE account = $1 AND sequence = $2",
        account,
        sequence,
    )
    await connection.close()


async def stopped(first: House, *, fence: int = 1) -> None:
    """It paired, and stopped in order."""
    await first.takes_over(fence)
    first.pairs()
    await first.leaves()


# --- what comes back ------------------------------------------------------------------------------


async def test_where_a_session_stopped_it_goes_on_with_the_next_fence(house: Build) -> None:
    first, second = house("first"), house("second")
    await stopped(first)
    await second.takes_over(2)
    assert peers_known(second.path) == 12
    assert second.file.identity() == first.file.identity(), "what was sent can still be looked up"
    assert second.counted("restores_total", kind="exact") == 1
    assert read(second.path, "PRAGMA journal_mode") == "wal"
    assert second.path.stat().st_mode & 0o777 == 0o600


async def test_how_far_a_restore_and_a_backup_are_is_told(house: Build) -> None:
    first, second = house("first"), house("second")
    told: dict[str, list[str]] = {}

    def hear(name: str, it: House) -> None:
        def heard() -> None:
            if (now := it.backups.doings.now) is not None and now.step is not None:
                told.setdefault(f"{name}: {now.what}", []).append(now.step.name)

        it.backups.doings.subscribe(heard)

    hear("first", first)
    hear("second", second)
    await stopped(first)
    await second.takes_over(2)
    assert told == {
        "first: making a backup": ["COPYING", "CHECKING", "SEALING", "STORING"],
        "second: bringing back the session": ["FETCHING", "OPENING", "CHECKING", "PLACING"],
    }
    assert second.backups.status().progress is None


async def test_a_fence_that_somebody_else_had_in_between_means_anew(house: Build) -> None:
    first, second = house("first"), house("second")
    await stopped(first)
    await second.takes_over(3)
    assert peers_known(second.path) == 0
    assert second.file.identity() != first.file.identity()
    assert second.counted("restores_total", kind="ratchets_dropped") == 1
    assert second.counted("sessions_dropped_total") == 12


async def test_after_a_kill_it_goes_on_anew(house: Build) -> None:
    first, second = house("first"), house("second")
    await first.takes_over(1)
    first.pairs()
    assert (await first.backups.back_up(Cause.PAIRED)).outcome is Outcome.KEPT
    await second.takes_over(2)
    assert read(second.path, "SELECT jid FROM whatsmeow_device") == DEVICE
    assert peers_known(second.path) == 0


async def test_a_clean_backup_is_used_as_it_is_once(house: Build) -> None:
    first, second, third = house("first"), house("second"), house("third")
    await stopped(first)
    await second.takes_over(2)  # and is killed before it makes a backup
    await third.takes_over(3)
    assert third.counted("restores_total", kind="ratchets_dropped") == 1


@pytest.mark.parametrize(("later_s", "kind"), [(299.0, "exact"), (301.0, "ratchets_dropped")])
async def test_without_a_database_a_clean_backup_counts_as_such_for_five_minutes(
    house: Build, clock: FakeClock, later_s: float, kind: str
) -> None:
    first, second = house("first", fenced=False), house("second", fenced=False)
    await stopped(first)
    clock.advance(later_s)
    await second.takes_over(1)
    assert second.counted("restores_total", kind=kind) == 1


async def test_a_lease_of_another_kind_proves_nothing(house: Build) -> None:
    first, second, third = house("first", fenced=False), house("second"), house("third", fenced=False)
    await stopped(first)
    await second.takes_over(1)
    assert second.counted("restores_total", kind="ratchets_dropped") == 1
    await second.leaves()
    await third.takes_over(2)
    assert third.counted("restores_total", kind="ratchets_dropped") == 1


async def test_a_damaged_newest_backup_gives_way_to_an_older_good_one(
    house: Build, place: Place, account: str
) -> None:
    first, second = house("first"), house("second")
    await first.takes_over(1)
    session = first.pairs()
    await first.backups.back_up(Cause.PAIRED)
    session.live()
    await first.leaves()
    await spoil(place, account, 2)
    await second.takes_over(2)
    assert second.counted("restores_total", kind="ratchets_dropped") == 1
    assert second.hurdles == []


# --- what stays -----------------------------------------------------------------------------------


async def test_a_session_that_nobody_else_used_is_used_as_it_is(house: Build) -> None:
    first = house()
    await stopped(first)
    again = house()
    await again.takes_over(2)
    assert peers_known(again.path) == 12
    assert again.counted("restores_total", kind="exact") == 0


async def test_after_a_kill_the_session_on_the_disk_is_used_as_it_is(house: Build) -> None:
    first = house()
    await first.takes_over(1)
    session = first.pairs()
    await first.backups.back_up(Cause.PAIRED)
    session.live(messages=100)
    again = house()
    await again.takes_over(2)
    assert peers_known(again.path) == 12
    assert read(again.path, "SELECT count(*) FROM whatsmeow_message_secrets") == 400


@pytest.mark.parametrize("left", ["cut", "gone"])
async def test_a_session_that_lost_its_last_transactions_goes_on_anew(house: Build, left: str) -> None:
    first = house()
    await first.takes_over(1)
    session = first.pairs()
    await first.backups.back_up(Cause.PAIRED)
    identity = first.file.identity()
    with closing(sqlite3.connect(first.path)) as database:
        database.execute("SELECT count(*) FROM whatsmeow_device").fetchone()
        session.live(messages=100)
        on_disk = {path: path.read_bytes() for path in first.folder.glob("session.db*")}
    for path, data in on_disk.items():
        if not path.name.endswith("-wal"):
            path.write_bytes(data)
        elif left == "cut":
            path.write_bytes(data[: len(data) // 2])
    again = house()
    await again.takes_over(2)
    assert read(again.path, "SELECT jid FROM whatsmeow_device") == DEVICE
    assert peers_known(again.path) == 0
    assert again.file.identity() != identity, "what was sent last cannot be looked up"
    assert again.counted("sessions_dropped_total") == 12


async def test_a_session_that_another_process_used_since_gives_way_to_its_backup(house: Build) -> None:
    first, second = house("first"), house("second")
    await stopped(first)
    await second.takes_over(2)
    second_identity = second.file.identity()
    await second.leaves()
    again = house("first")
    await again.takes_over(3)
    assert again.counted("restores_total", kind="exact") == 1
    assert again.file.identity() == second_identity
    assert [path.name.startswith("session.db.stale-") for path in again.path.parent.glob("*.stale-*")]


async def test_without_a_backup_of_those_who_used_it_since_the_session_goes_on_anew(house: Build) -> None:
    first = house("first")
    await stopped(first)
    await house("second").takes_over(2)  # and is killed at once
    again = house("first")
    await again.takes_over(3)
    assert peers_known(again.path) == 0
    assert again.counted("sessions_dropped_total") == 12
    assert again.counted("restores_total", kind="ratchets_dropped") == 0


async def test_a_session_from_before_there_were_backups_is_used_as_it_is(house: Build) -> None:
    first = house()
    first.pairs()
    await first.takes_over(7)
    assert peers_known(first.path) == 12


async def test_a_logged_out_session_is_not_replaced(house: Build) -> None:
    first = house()
    await stopped(first)
    await first.file.forget_device()
    again = house()
    await again.takes_over(2)
    assert await again.file.device_jid() is None
    assert (await again.backups.back_up(Cause.ASKED)).outcome is Outcome.REFUSED
    assert [kept.sequence for kept in await again.backups.listed()] == [1], "the good one is still there"


async def test_what_the_operator_cleared_stays_away_until_another_is_backed_up(house: Build) -> None:
    first = house()
    await stopped(first)
    first.file.remove()
    again = house()
    await again.takes_over(2)
    assert await again.file.device_jid() is None
    again.pairs(seed=2)
    assert (await again.backups.back_up(Cause.PAIRED)).outcome is Outcome.KEPT
    again.path.unlink()
    third = house()
    await third.takes_over(3)
    assert third.counted("restores_total", kind="ratchets_dropped") == 1


async def cleared(it: House) -> None:
    """The operator cleared the session, and the scheduler looked."""
    it.file.remove()
    await asyncio.to_thread(it.file.prepare)
    assert await it.custody.bury()


async def test_what_was_cleared_stays_away_elsewhere_and_what_is_linked_then_comes_back(
    house: Build, vault: Vault
) -> None:
    first, second = house("first"), house("second")
    await stopped(first)
    again = house("first")
    await again.takes_over(2)
    await cleared(again)
    await second.takes_over(3)  # the first one's disk is gone
    assert await second.file.device_jid() is None
    assert [kept.sequence for kept in await vault.listed()] == [1], "by hand it can still be had"

    second.pairs(seed=2)
    assert not await second.custody.bury(), "another phone is linked"
    assert (await second.backups.back_up(Cause.PAIRED)).outcome is Outcome.KEPT
    third = house("third")
    await third.takes_over(4)
    assert third.counted("restores_total", kind="ratchets_dropped") == 1


async def test_a_session_that_was_cleared_elsewhere_is_not_used_any_more(house: Build) -> None:
    first, second = house("first"), house("second")
    await stopped(first)
    await second.takes_over(2)
    await cleared(second)
    again = house("first")
    await again.takes_over(3)
    assert await again.file.device_jid() is None
    aside = [path for path in again.folder.glob("session.db.ended-*") if not path.name.endswith("-wal")]
    assert len(aside) == 1


async def test_a_session_that_was_linked_where_one_was_cleared_is_used(house: Build) -> None:
    first = house()
    await stopped(first)
    again = house()
    await again.takes_over(2)
    await cleared(again)
    again.pairs(seed=2)  # and is killed before it is backed up
    once_more = house()
    await once_more.takes_over(3)
    assert await once_more.file.device_jid() == DEVICE


async def test_a_mark_that_is_damaged_is_not_taken_for_none(house: Build, place: Place, account: str) -> None:
    first, second = house("first"), house("second")
    await stopped(first)
    again = house("first")
    await again.takes_over(2)
    await cleared(again)
    await place.spoil_tombstone(account)
    await second.begins_to_take_over(3)
    assert not await second.admitted(within_s=10)
    assert second.hurdles == [Hurdle.BACKUP_UNREADABLE]
    await second.gives_up()


async def test_a_damaged_session_is_set_aside_and_the_backup_comes_back(
    house: Build, clock: FakeClock
) -> None:
    for turn in range(1, 6):
        it = house()
        await it.takes_over(turn)
        if turn == 1:
            it.pairs()
        await it.backups.back_up(Cause.ASKED)
        it.path.write_bytes(b"not a database" * 5000)
        clock.advance(60)
    again = house()
    await again.takes_over(6)
    assert await again.file.device_jid() == DEVICE
    aside = [path.name for path in again.path.parent.glob("session.db.bad-*")]
    aside = [name for name in aside if not name.endswith("-wal")]
    assert len(aside) == 3
    assert all((again.path.parent / name).stat().st_mode & 0o777 == 0o600 for name in aside)


# --- what is waited for ---------------------------------------------------------------------------


async def test_without_a_session_an_unreachable_vault_is_waited_for_however_long(
    house: Build, place: Place
) -> None:
    first, second = house("first"), house("second")
    await stopped(first)
    async with place.away():
        await second.begins_to_take_over(2)
        assert not await second.admitted(within_s=100)
        assert second.hurdles == [Hurdle.VAULT_UNREACHABLE]
        assert await second.file.device_jid() is None
    assert await second.admitted(within_s=10)
    assert await second.file.device_jid() == DEVICE


async def test_with_a_session_the_vault_is_waited_for_half_a_minute_and_told_later(
    house: Build, place: Place, clock: FakeClock
) -> None:
    first = house()
    await stopped(first)
    again = house()
    async with place.away():
        await again.begins_to_take_over(2)
        assert not await again.admitted(within_s=28)
        assert await again.admitted(within_s=10)
        assert again.counted("unprotected") == 1
        assert (await again.backups.back_up(Cause.ASKED)).outcome is Outcome.NOT_OWNER
    await again.custody.enter_late()
    assert (again.counted("unprotected"), again.counted("epoch")) == (0, 2)
    assert (await again.backups.back_up(Cause.ASKED)).outcome is Outcome.KEPT


async def test_without_a_database_nobody_connects_past_a_vault_that_may_call_another_state_the_last(
    house: Build, place: Place
) -> None:
    first = house(fenced=False)
    await stopped(first)
    again = house(fenced=False)
    async with place.away():
        await again.begins_to_take_over(2)
        assert not await again.admitted(within_s=350)
        assert await again.admitted(within_s=20)
    second = house("second", fenced=False)
    await second.takes_over(1)
    assert second.counted("restores_total", kind="exact") == 0


async def test_a_stranger_who_held_the_lease_is_noticed_without_the_vault(house: Build, place: Place) -> None:
    first = house()
    await stopped(first)
    again = house()
    async with place.away():
        await again.takes_over(3, within_s=40)
    assert peers_known(again.path) == 0


async def test_with_a_key_missing_nothing_is_paired_and_nothing_overwritten(
    house: Build, vault: Vault
) -> None:
    first, second = house("first"), house("second", keys=(ANOTHER_KEY,))
    await stopped(first)
    await second.begins_to_take_over(2)
    assert not await second.admitted(within_s=100)
    assert second.hurdles == [Hurdle.BACKUP_KEY_MISSING]
    await second.gives_up()
    assert await vault.epoch() == 1, "the backup still counts as the last state"
    third = house("third", keys=(ANOTHER_KEY, KEY))
    await third.takes_over(2)
    assert third.counted("restores_total", kind="exact") == 1


async def test_a_missing_key_does_not_keep_a_good_session_from_connecting_and_being_backed_up(
    house: Build,
) -> None:
    first = house()
    await stopped(first)
    again = house(keys=(ANOTHER_KEY,))
    await again.takes_over(2)
    assert again.hurdles == []
    assert (await again.backups.back_up(Cause.CHANGED)).outcome is Outcome.KEPT
    assert again.counted("verifications_total", result="key_missing") == 1
    second = house("second", keys=(ANOTHER_KEY,))
    await second.takes_over(3)
    assert await second.file.device_jid() == DEVICE


async def test_with_no_readable_backup_nothing_is_paired(house: Build, place: Place, account: str) -> None:
    first, second = house("first"), house("second")
    await stopped(first)
    await spoil(place, account, 1)
    await second.begins_to_take_over(2)
    assert not await second.admitted(within_s=100)
    assert second.hurdles == [Hurdle.BACKUP_UNREADABLE]
    await second.gives_up()


async def test_unreadable_backups_do_not_keep_a_good_session_from_connecting(
    house: Build, place: Place, account: str
) -> None:
    first, second = house("first"), house("second")
    await stopped(first)
    await second.takes_over(2)
    await second.leaves()
    await spoil(place, account, 2)
    again = house("first")
    await again.takes_over(3)
    assert peers_known(again.path) == 0, "it is older than what the other one did"
    assert await again.file.device_jid() == DEVICE


# --- backups --------------------------------------------------------------------------------------


async def test_another_number_does_not_replace_the_backups(house: Build) -> None:
    first = house()
    await stopped(first)
    again = house()
    await again.takes_over(2)
    with closing(sqlite3.connect(again.path)) as database, database:
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("UPDATE whatsmeow_device SET jid = '19995550000:1@s.whatsapp.net'")
    report = await again.backups.back_up(Cause.CHANGED)
    assert report.outcome is Outcome.REFUSED
    assert again.counted("refusals_total", reason="foreign_device") == 1
    again.local.adopt()  # it was linked here, by somebody who could
    assert (await again.backups.back_up(Cause.PAIRED)).outcome is Outcome.KEPT


async def test_the_same_number_linked_anew_replaces_them(house: Build) -> None:
    first = house()
    await stopped(first)
    again = house()
    await again.takes_over(2)
    with closing(sqlite3.connect(again.path)) as database, database:
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("UPDATE whatsmeow_device SET jid = ?", (DEVICE.replace(":7", ":8"),))
        database.execute("DELETE FROM whatsmeow_identity_keys")
    assert (await again.backups.back_up(Cause.CHANGED)).outcome is Outcome.KEPT


async def test_an_unchanged_session_costs_nothing_and_counts(house: Build, clock: FakeClock) -> None:
    first = house()
    await first.takes_over(1)
    first.pairs()
    await first.backups.back_up(Cause.PAIRED)
    stored = first.counted("stored_bytes_total")
    clock.advance(1800)
    report = await first.backups.back_up(Cause.INTERVAL)
    assert report.outcome is Outcome.UNCHANGED
    assert first.counted("stored_bytes_total") == stored
    assert first.counted("last_success_timestamp_seconds") == clock.now()
    assert first.counted("runs_total", cause="interval", outcome="unchanged") == 1


async def test_an_owner_of_before_writes_nothing_any_more(house: Build) -> None:
    first, second = house("first"), house("second")
    await first.takes_over(1)
    first.pairs()
    await first.backups.back_up(Cause.PAIRED)
    await second.takes_over(2)
    first.pairs(seed=3)
    assert (await first.backups.back_up(Cause.CHANGED)).outcome is Outcome.FENCED
    assert [kept.sequence for kept in await second.backups.listed()] == [1]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (VaultFull("no room"), Outcome.FULL),
        (VaultUnavailable("no answer"), Outcome.UNREACHABLE),
        (BackupUnreadable("a chunk is gone"), Outcome.FAILED),
        (ValueError("sequence 1: 1 is kept already"), Outcome.FAILED),
        (RuntimeError("nobody foresaw that"), Outcome.FAILED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
async def test_a_vault_that_does_not_take_a_backup_is_said_and_the_next_try_may_succeed(
    house: Build, monkeypatch: pytest.MonkeyPatch, error: Exception, outcome: Outcome
) -> None:
    first = house()
    await first.takes_over(1)
    first.pairs()

    async def refuses(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(first.shelf.vault, "put", refuses)
        assert (await first.backups.back_up(Cause.PAIRED)).outcome is outcome
    assert first.counted("runs_total", cause="paired", outcome=outcome.value) == 1
    assert first.backups.status().trouble
    assert (await first.backups.back_up(Cause.PAIRED)).outcome is Outcome.KEPT
    assert first.backups.status().trouble is None


async def test_what_a_process_before_kept_is_not_stored_again(house: Build) -> None:
    first = house()
    await first.takes_over(1)
    session = first.pairs()
    await first.leaves()
    again = house()
    await again.takes_over(2)
    session.live(messages=4)
    await again.backups.back_up(Cause.CHANGED)
    assert again.counted("stored_bytes_total") < 0.5 * first.counted("stored_bytes_total")
    assert again.counted("last_verified_timestamp_seconds") > 0, "it read the newest to know what is there"


async def test_a_changed_key_seals_the_newest_and_says_who_still_needs_the_old_one(
    house: Build, clock: FakeClock
) -> None:
    first = house()
    await first.takes_over(1)
    session = first.pairs()
    await first.backups.back_up(Cause.PAIRED)
    session.live()
    await first.leaves()
    again = house(keys=(ANOTHER_KEY, KEY))
    await again.takes_over(2)
    rotated = await again.backups.rotate_key()
    assert (rotated.changed, rotated.sequence, sum(rotated.others.values())) == (True, 3, 2)
    assert not (await again.backups.rotate_key()).changed
    only_new = house("second", keys=(ANOTHER_KEY,))
    await only_new.takes_over(3)
    assert await only_new.file.device_jid() == DEVICE


async def test_a_file_by_hand_holds_the_session_without_ratchets(house: Build, tmp_path: Path) -> None:
    first = house()
    await stopped(first)
    target = tmp_path / "by-hand.db"
    restored = await first.backups.restore_to(target)
    assert (restored.sequence, restored.sessions_dropped) == (1, 12)
    assert peers_known(target) == 0
    assert target.stat().st_mode & 0o777 == 0o600


async def test_every_step_is_a_span_and_nothing_of_the_session_is_in_it(house: Build) -> None:
    first, second = house("first"), house("second")
    await stopped(first)
    await second.takes_over(2)
    await second.backups.verify()
    spans = [*first.spans.get_finished_spans(), *second.spans.get_finished_spans()]
    assert [span.name for span in spans] == ["backup", "restore", "verify backup"]
    assert [event.name for event in spans[1].events] == ["fetched", "exact", "in place"]
    assert DEVICE.partition(":")[0] not in repr([(span.attributes, span.events) for span in spans])


async def test_scratch_files_of_a_killed_process_are_removed(house: Build) -> None:
    first = house()
    (first.folder / "work").mkdir()
    (first.folder / "work" / "0123.db").write_bytes(b"secret")
    await stopped(first)
    assert list((first.folder / "work").iterdir()) == []


async def test_a_folder_that_cannot_be_reached_at_the_start_is_no_end(
    tmp_path: Path, account: str, clock: FakeClock
) -> None:
    vault = DirectoryVault(tmp_path / "mount" / "kept", account=account)
    it = House(tmp_path / "data", vault, account=account, clock=clock)
    await it.begins_to_take_over(1)
    assert not await it.admitted(within_s=60)
    assert it.hurdles == [Hurdle.VAULT_UNREACHABLE]
    (tmp_path / "mount").mkdir()
    assert await it.admitted(within_s=10)
    await vault.close()

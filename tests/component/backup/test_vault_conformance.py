"""What every place that keeps backups promises (service/backup/vault.py), checked on each of them."""

import asyncio
from random import Random

import pytest

from service.backup.tombstone import Tombstone
from service.backup.vault import Vault
from service.errors import BackupUnreadable, FenceTooOld, VaultFull, VaultUnavailable
from tests.component.backup.places import Place
from tests.component.backup.sealing import backup, chunks


async def sequences(vault: Vault) -> list[int]:
    return [kept.sequence for kept in await vault.listed()]


# --- what is kept -------------------------------------------------------------------------------------


async def test_a_new_vault_is_empty(vault: Vault) -> None:
    assert list(await vault.listed()) == []
    assert await vault.epoch() == 0
    with pytest.raises(KeyError):
        await vault.manifest(1)


async def test_what_was_put_comes_back_byte_for_byte_to_another_process(
    place: Place, vault: Vault, account: str
) -> None:
    parts = chunks("a", "b", "c") | {"00": b"", "ff": bytes(range(256)) * 300}
    sealed = backup(1, parts, manifest=bytes(range(256)) * 50)
    await vault.put(sealed, parts, epoch=1)

    other = await place.vault(account)
    assert list(await other.listed()) == [sealed.kept]
    assert await other.manifest(1) == sealed.manifest
    assert await other.chunks(sealed.chunk_ids) == parts


async def test_the_latest_backup_is_listed_first(vault: Vault) -> None:
    for sequence in (1, 2, 9, 10, 100):
        await vault.put(backup(sequence, chunks("a")), chunks("a"), epoch=1)
    assert await sequences(vault) == [100, 10, 9, 2, 1]


async def test_only_missing_chunks_need_to_be_handed_over(place: Place, vault: Vault, account: str) -> None:
    first, second = chunks("a", "b"), chunks("b", "c")
    await vault.put(backup(1, first), first, epoch=1)

    assert await vault.missing(second) == set(chunks("c"))
    await vault.put(backup(2, second), chunks("c"), epoch=1)

    assert await vault.chunks(list(second)) == second
    assert await place.kept_bytes(account) == 3000, "b is kept once"


async def test_a_chunk_named_twice_is_kept_once(vault: Vault) -> None:
    parts = chunks("a")
    sealed = backup(1, parts)
    twice = type(sealed)(kept=sealed.kept, manifest=sealed.manifest, chunk_ids=sealed.chunk_ids * 2)
    await vault.put(twice, parts, epoch=1)
    assert await vault.chunks(twice.chunk_ids) == parts


async def test_a_sequence_must_be_above_all_that_are_kept(vault: Vault) -> None:
    await vault.put(backup(5, chunks("a")), chunks("a"), epoch=1)
    for sequence in (4, 5):
        with pytest.raises(ValueError, match="5"):
            await vault.put(backup(sequence, chunks("b"), manifest=b"other"), chunks("b"), epoch=1)
    assert await sequences(vault) == [5]
    assert await vault.missing(chunks("b")) == set(chunks("b"))


async def test_the_same_backup_put_again_is_kept_once(vault: Vault) -> None:
    """Who got no answer may ask again."""
    for _ in range(2):
        await vault.put(backup(5, chunks("a")), chunks("a"), epoch=1)
    assert await sequences(vault) == [5]


async def test_the_same_backup_put_by_several_at_once_is_kept_once(place: Place, account: str) -> None:
    vaults = [await place.vault(account) for _ in range(3)]
    await asyncio.gather(*(vault.put(backup(5, chunks("a")), chunks("a"), epoch=1) for vault in vaults))
    assert await sequences(vaults[0]) == [5]


async def test_a_damaged_chunk_is_mended_by_handing_it_over_again(vault: Vault) -> None:
    (chunk_id,) = chunks("a")
    await vault.put(backup(1, chunks("a")), {chunk_id: b"damaged"}, epoch=1)
    await vault.put(backup(2, chunks("a")), chunks("a"), epoch=1)
    assert await vault.chunks([chunk_id]) == chunks("a")


async def test_a_verification_is_noted(vault: Vault) -> None:
    await vault.put(backup(1, chunks("a")), chunks("a"), epoch=1)
    await vault.verified(1, at=1_700_000_100.125)
    await vault.verified(1, at=1_700_000_200.125)
    (kept,) = await vault.listed()
    assert kept.verified_at == 1_700_000_200.125
    with pytest.raises(KeyError):
        await vault.verified(2, at=1.0)


# --- epochs and owners --------------------------------------------------------------------------------


async def test_every_owner_gets_the_next_epoch(place: Place, vault: Vault, account: str) -> None:
    other = await place.vault(account)
    assert [await vault.enter(), await other.enter(), await vault.enter()] == [1, 2, 3]
    assert await other.epoch() == 3
    assert await (await place.vault(account)).enter() == 4, "it outlives the process"


async def test_owners_that_enter_at_once_get_different_epochs(place: Place, account: str) -> None:
    vaults = [await place.vault(account) for _ in range(3)]
    entered = await asyncio.gather(*(vault.enter() for vault in vaults for _ in range(5)))
    assert sorted(entered) == list(range(1, 16))


async def test_what_an_earlier_owner_still_writes_is_refused(
    place: Place, vault: Vault, account: str
) -> None:
    old = await vault.enter()
    await vault.put(backup(1, chunks("a"), epoch=old), chunks("a"), epoch=old)
    other = await place.vault(account)
    new = await other.enter()

    with pytest.raises(FenceTooOld):
        await vault.put(backup(2, chunks("b"), epoch=old), chunks("b"), epoch=old)
    assert await sequences(other) == [1]
    assert await other.missing(chunks("b")) == set(chunks("b")), "nothing of it is left"

    await other.put(backup(2, chunks("c"), epoch=new), chunks("c"), epoch=new)
    assert await sequences(vault) == [2, 1]


async def test_epochs_never_go_back_behind_what_backups_tell(vault: Vault) -> None:
    """The vault was emptied behind an owner's back, and he goes on."""
    await vault.put(backup(1, chunks("a"), epoch=7), chunks("a"), epoch=7)
    assert await vault.epoch() == 7
    assert await vault.enter() == 8


async def test_of_two_owners_that_write_at_once_the_later_one_wins(place: Place, account: str) -> None:
    """Whatever the order, what the earlier one wrote is there whole or refused."""
    earlier, later = await place.vault(account), await place.vault(account)
    old = await earlier.enter()
    written: list[int] = []

    async def write() -> None:
        for sequence in range(1, 200):
            parts = chunks(
                f"{sequence:03}", f"{sequence:03}+"
            )  # 11 repeated would be the chunk of 1 repeated
            await earlier.put(backup(sequence, parts, epoch=old), parts, epoch=old)
            written.append(sequence)

    async def take_over() -> int:
        while len(written) < 3:
            await asyncio.sleep(0)
        await later.enter()
        return len(written)

    refused, _ = await asyncio.gather(write(), take_over(), return_exceptions=True)
    assert isinstance(refused, FenceTooOld)
    assert await sequences(later) == written[::-1]
    for sequence in written:
        await later.chunks(list(chunks(f"{sequence:03}", f"{sequence:03}+")))
    assert await later.missing(chunks(f"{written[-1] + 1:03}")), "nothing is left of what was refused"


async def test_accounts_in_one_place_do_not_know_each_other(place: Place, vault: Vault, account: str) -> None:
    other = await place.vault(f"{account}-other")
    ours, theirs = chunks("a", "b"), chunks("a")
    await vault.put(backup(1, ours), ours, epoch=await vault.enter())
    assert await other.epoch() == 0
    assert await other.missing(ours) == set(ours)
    with pytest.raises(BackupUnreadable):
        await other.chunks(list(theirs))

    await other.put(backup(1, theirs), theirs, epoch=await other.enter())
    await other.forget([1])
    assert await sequences(vault) == [1]
    assert await vault.chunks(list(ours)) == ours


# --- a session that was ended --------------------------------------------------------------------------


async def test_an_ended_session_is_noted_with_what_is_kept_of_it(
    place: Place, vault: Vault, account: str
) -> None:
    assert await vault.tombstone() is None
    assert await vault.bury(epoch=1) == Tombstone(0, 1), "there may be nothing of it"
    await vault.put(backup(1, chunks("a")), chunks("a"), epoch=1)
    await vault.put(backup(7, chunks("b")), chunks("b"), epoch=1)
    assert await vault.bury(epoch=1) == Tombstone(7, 1)

    await vault.put(backup(8, chunks("c")), chunks("c"), epoch=1)
    assert await (await place.vault(account)).tombstone() == Tombstone(7, 1), "what came later is not meant"
    await vault.forget([7])
    assert await vault.tombstone() == Tombstone(7, 1)
    assert await sequences(vault) == [8, 1], "what is kept of it is still there for who asks"
    assert await (await place.vault(f"{account}-other")).tombstone() is None


async def test_who_lost_the_account_cannot_end_its_session(place: Place, vault: Vault, account: str) -> None:
    old = await vault.enter()
    await (await place.vault(account)).enter()
    with pytest.raises(FenceTooOld):
        await vault.bury(epoch=old)
    assert await vault.tombstone() is None


# --- forgetting ---------------------------------------------------------------------------------------


async def test_forgetting_removes_the_chunks_that_no_other_backup_names(
    place: Place, vault: Vault, account: str
) -> None:
    parts = {1: chunks("a", "b"), 2: chunks("b", "c"), 3: chunks("c", "d")}
    for sequence, named in parts.items():
        await vault.put(backup(sequence, named), named, epoch=1)

    assert await vault.forget([1, 2, 77]) >= 2000
    assert await sequences(vault) == [3]
    assert await vault.missing(chunks("a", "b", "c", "d")) == set(chunks("a", "b"))
    assert await place.kept_bytes(account) == 2000
    with pytest.raises(KeyError):
        await vault.manifest(1)
    assert await vault.forget([1, 2]) == 0
    assert await vault.forget([3]) >= 2000
    assert await place.kept_bytes(account) == 0


async def test_a_put_never_loses_a_chunk_it_counted_on_to_somebody_who_forgets(
    place: Place, account: str
) -> None:
    """Either it is kept with every chunk, or it is told that one is gone; then all are handed over."""
    keeper, pruner = await place.vault(account), await place.vault(account)
    rng = Random(5)
    told_of_loss = 0
    done = asyncio.Event()

    async def prune() -> None:
        while not done.is_set():
            await pruner.forget(
                (await sequences(pruner))[1:] if rng.random() < 0.5 else await sequences(pruner)
            )

    async def keep() -> None:
        nonlocal told_of_loss
        for sequence in range(1, 41):
            named = chunks(*rng.sample("abcdef", 4))
            missing = await keeper.missing(named)
            try:
                await keeper.put(backup(sequence, named), {each: named[each] for each in missing}, epoch=1)
            except BackupUnreadable:
                told_of_loss += 1
                assert sequence not in await sequences(keeper)
                await keeper.put(backup(sequence, named), named, epoch=1)
            if sequence in await sequences(keeper):
                try:
                    assert await keeper.chunks(list(named)) == named
                except BackupUnreadable:
                    assert sequence not in await sequences(keeper), "listed, and a chunk is gone"
        done.set()

    await asyncio.gather(prune(), keep())
    named = chunks("x", "a")
    await keeper.put(backup(99, named), named, epoch=1)
    await pruner.forget([each for each in await sequences(pruner) if each != 99])
    assert await place.kept_bytes(account) == 2000, "nothing is left behind"


# --- when something is wrong --------------------------------------------------------------------------


async def test_a_put_that_counts_on_a_lost_chunk_changes_nothing(
    place: Place, vault: Vault, account: str
) -> None:
    parts = chunks("a", "b")
    await vault.put(backup(1, parts), parts, epoch=1)
    lost = min(parts)
    await place.lose(account, lost)

    with pytest.raises(BackupUnreadable):
        await vault.chunks(list(parts))
    with pytest.raises(BackupUnreadable):
        await vault.put(backup(2, parts | chunks("c")), chunks("c"), epoch=1)
    assert await sequences(vault) == [1]
    assert await vault.missing(parts | chunks("c")) == {lost, *chunks("c")}

    await vault.put(backup(2, parts), {lost: parts[lost]}, epoch=1)
    assert await vault.chunks(list(parts)) == parts


async def test_a_manifest_that_cannot_be_read_is_not_taken_for_none(
    place: Place, vault: Vault, account: str
) -> None:
    for sequence in (1, 2):
        parts = chunks("a", f"{sequence}")
        await vault.put(backup(sequence, parts, manifest=Random(1).randbytes(20_000)), parts, epoch=1)
    await place.damage(account, 2)

    assert await sequences(vault) == [2, 1]
    with pytest.raises(BackupUnreadable):
        await vault.manifest(2)
    assert await vault.manifest(1) == Random(1).randbytes(20_000), "the older one is good"


async def test_a_place_that_is_away_is_unavailable_and_not_empty(
    place: Place, vault: Vault, account: str
) -> None:
    parts = chunks("a")
    await vault.put(backup(1, parts), parts, epoch=1)
    async with place.away():
        for call in (
            vault.listed(),
            vault.epoch(),
            vault.enter(),
            vault.manifest(1),
            vault.missing(parts),
            vault.chunks(list(parts)),
            vault.put(backup(2, parts), parts, epoch=1),
            vault.verified(1, at=1.0),
            vault.bury(epoch=1),
            vault.tombstone(),
            vault.forget([1]),
        ):
            with pytest.raises(VaultUnavailable) as refusal:
                await call
            assert "secret-word" not in str(refusal.value)
    assert await sequences(vault) == [1], "it is used again as soon as it is there"
    assert await vault.epoch() == 1
    assert await vault.chunks(list(parts)) == parts


async def test_a_full_place_is_told_as_such_and_nothing_is_left_of_the_backup(
    place: Place, vault: Vault, account: str
) -> None:
    small, big = chunks("a"), chunks("b") | chunks("c", size_bytes=60_000)
    await vault.put(backup(1, small), small, epoch=1)
    async with place.full(account):
        with pytest.raises(VaultFull):
            await vault.put(backup(2, small | big), big, epoch=1)
        assert await sequences(vault) == [1]
        assert await vault.missing(big) == set(big)
        assert await vault.chunks(list(small)) == small
        assert await place.kept_bytes(account) == 1000, "a failed backup takes no room"
    await vault.put(backup(2, small | big), big, epoch=1)
    assert await sequences(vault) == [2, 1]


async def test_a_vault_that_is_not_open_is_unavailable(vault: Vault) -> None:
    await vault.close()
    await vault.close()
    with pytest.raises(VaultUnavailable):
        await vault.listed()
    await vault.open()
    await vault.open()
    assert await sequences(vault) == []


async def test_a_backup_of_fifty_megabytes_comes_back_whole(vault: Vault) -> None:
    rng = Random(50)
    parts = {f"{number:064x}": rng.randbytes(65_000) for number in range(800)}
    await vault.put(backup(1, parts), parts, epoch=1)
    assert await vault.chunks(list(parts)) == parts

"""What is done with the session of an account that is taken over."""

import pytest

from service.backup.local import Found, Lineage
from service.backup.model import Kept, Manifest
from service.backup.restore import Plan, exact, plan

NOW = 1_700_000_000.0
OURS = Lineage(identity="a", epoch=3, fence=7)


def kept(*epochs: int) -> list[Kept]:
    """Backups of these epochs, the latest first."""
    return [
        Kept(
            sequence=len(epochs) - at,
            epoch=epoch,
            taken_at=NOW,
            clean=False,
            key_id="00",
            size_bytes=1,
            stored_bytes=1,
        )
        for at, epoch in enumerate(epochs)
    ]


def planned(
    found: Found,
    lineage: Lineage | None = OURS,
    listed: list[Kept] | None = None,
    *,
    epoch: int = 3,
    cleared: bool = False,
    gap: bool = False,
) -> Plan:
    backups = kept(3) if listed is None else listed
    return plan(found, lineage, cleared=cleared, listed=backups, epoch=epoch, gap=gap)


@pytest.mark.parametrize("lineage", [None, OURS], ids=["unknown", "ours"])
def test_nothing_here_is_replaced_by_what_there_is(lineage: Lineage | None) -> None:
    assert planned(Found.NOTHING, lineage) is Plan.FETCH
    assert planned(Found.NOTHING, lineage, []) is Plan.BEGIN
    assert planned(Found.NOTHING, lineage, cleared=True) is Plan.BEGIN


@pytest.mark.parametrize("found", [Found.DEVICE, Found.LOGGED_OUT])
def test_what_is_ours_is_used_as_it_is(found: Found) -> None:
    assert planned(found) is Plan.USE
    assert planned(found, epoch=2) is Plan.USE, "the vault is another one, or was emptied"


def test_what_others_used_since_gives_way_to_theirs() -> None:
    assert planned(Found.DEVICE, listed=kept(4, 3), epoch=4) is Plan.FETCH
    assert planned(Found.LOGGED_OUT, listed=kept(4, 3), epoch=4) is Plan.FETCH
    assert planned(Found.DEVICE, epoch=4) is Plan.RENEW, "they left nothing"
    assert planned(Found.DEVICE, gap=True) is Plan.RENEW, "they did not even tell the vault"
    assert planned(Found.LOGGED_OUT, epoch=4) is Plan.USE


def test_a_session_of_unknown_past_is_never_replaced() -> None:
    assert planned(Found.DEVICE, None, [], epoch=0) is Plan.USE
    assert planned(Found.DEVICE, None, epoch=1) is Plan.RENEW
    assert planned(Found.LOGGED_OUT, None, epoch=1) is Plan.USE


def manifest(*, clean: bool = True, epoch: int = 3, fence: int = 7, taken_at: float = NOW - 10) -> Manifest:
    return Manifest(
        account="default",
        sequence=1,
        epoch=epoch,
        fence=fence,
        taken_at=taken_at,
        clean=clean,
        identity="a",
        device_jid="1@s.whatsapp.net",
        schema_version=15,
        rows={},
        size_bytes=0,
        sha256="00" * 32,
        key_id="00",
        chunks=(),
        runs=(),
    )


def is_exact(backup: Manifest, *, newest: bool = True, epoch: int = 3, fence: int = 8) -> bool:
    return exact(backup, newest=newest, epoch=epoch, fence=fence, now=NOW)


def test_only_what_provably_is_the_last_state_is_used_as_it_is() -> None:
    assert is_exact(manifest())
    assert not is_exact(manifest(clean=False))
    assert not is_exact(manifest(), newest=False)
    assert not is_exact(manifest(), epoch=4), "somebody entered since"
    assert not is_exact(manifest(), fence=9), "somebody held the lease since"
    assert is_exact(manifest(taken_at=NOW - 10**7)), "with a database it does not matter how long ago"


def test_without_a_database_it_must_be_fresh_and_made_without_one() -> None:
    assert is_exact(manifest(fence=0), fence=0)
    assert not is_exact(manifest(fence=0, taken_at=NOW - 301), fence=0)
    assert not is_exact(manifest(fence=0, taken_at=NOW + 1), fence=0), "a clock is wrong"
    assert not is_exact(manifest(fence=7), fence=0)
    assert not is_exact(manifest(fence=0), fence=1)

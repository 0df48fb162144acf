"""The lease is held only once the session may connect, and given up only once it is kept."""

import asyncio
from enum import StrEnum

import pytest

from service.backup.custody import Hurdle, Tell
from service.backup.guarded_lease import GuardedLease
from service.reconnect.lease_metrics import Hindrance
from tests.unit.reconnect.fakes import FakeLease


class Word(StrEnum):
    """What custody and lease do, in order."""

    ADMIT = "admit"
    ADMITTED = "admitted"
    ABORTED = "aborted"
    LEAVE = "leave"
    LAPSE = "lapse"


class FakeCustody:
    """Admits when a test says so."""

    def __init__(self) -> None:
        self.did: list[Word] = []
        self.hurdle: Hurdle | None = None
        self.free = asyncio.Event()
        self.free.set()
        self.slow_leave: asyncio.Event | None = None

    async def admit(self, fence: int, tell: Tell) -> None:
        self.did.append(Word.ADMIT)
        if self.hurdle is not None:
            tell(self.hurdle)
        try:
            await self.free.wait()
        except asyncio.CancelledError:
            self.did.append(Word.ABORTED)
            raise
        self.did.append(Word.ADMITTED)

    async def leave(self) -> None:
        self.did.append(Word.LEAVE)
        if self.slow_leave is not None:
            await self.slow_leave.wait()

    def lapse(self) -> None:
        self.did.append(Word.LAPSE)


class Gate:
    """A guarded lease, its parts, and what was told."""

    def __init__(self) -> None:
        self.inner = FakeLease()
        self.custody = FakeCustody()
        self.shown: list[Hindrance | None] = []
        self.told: list[Hindrance] = []
        names = dict.fromkeys(Hurdle, Hindrance.DATA_DIR) | {
            Hurdle.VAULT_UNREACHABLE: Hindrance.VAULT_UNREACHABLE
        }
        self.lease = GuardedLease(self.inner, self.custody, hindrances=names, show=self.shown.append)

    def acquires(self) -> "asyncio.Task[int]":
        return asyncio.create_task(self.lease.acquire(self.told.append))


@pytest.fixture
async def gate() -> Gate:
    return Gate()


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_it_is_held_once_the_session_may_connect(gate: Gate) -> None:
    gate.custody.free.clear()
    acquiring = gate.acquires()
    await turns()
    assert not acquiring.done()
    gate.custody.free.set()
    assert await acquiring == 1
    assert gate.lease.fence == 1


async def test_what_is_waited_for_is_told_and_shown_until_it_is_over(gate: Gate) -> None:
    gate.custody.free.clear()
    gate.custody.hurdle = Hurdle.VAULT_UNREACHABLE
    acquiring = gate.acquires()
    await turns()
    assert gate.told == gate.shown == [Hindrance.VAULT_UNREACHABLE]
    gate.custody.free.set()
    await acquiring
    assert gate.shown[-1] is None


async def test_lost_before_the_session_is_ready_it_is_asked_for_again(gate: Gate) -> None:
    gate.custody.free.clear()
    acquiring = gate.acquires()
    await turns()
    gate.inner.lose()
    await turns()
    assert gate.custody.did == [Word.ADMIT, Word.ABORTED, Word.ADMIT]
    gate.custody.free.set()
    assert await acquiring == 2


async def test_a_lost_lease_ends_the_right_to_make_backups(gate: Gate) -> None:
    await gate.acquires()
    gate.inner.lose()
    await gate.lease.lost()
    assert gate.custody.did[-1] is Word.LAPSE
    await gate.lease.release()
    assert Word.LEAVE not in gate.custody.did, "somebody else may own the session"


async def test_given_up_the_session_is_kept_first(gate: Gate) -> None:
    await gate.acquires()
    gate.custody.slow_leave = asyncio.Event()
    releasing = asyncio.create_task(gate.lease.release())
    await turns()
    assert gate.custody.did[-1] is Word.LEAVE
    assert gate.inner.released_with is None
    gate.custody.slow_leave.set()
    await releasing
    assert gate.inner.released_with == 1


async def test_cut_short_it_is_given_up_all_the_same(gate: Gate) -> None:
    await gate.acquires()
    gate.custody.slow_leave = asyncio.Event()
    releasing = asyncio.create_task(gate.lease.release())
    await turns()
    releasing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await releasing
    assert gate.inner.released_with == 1


async def test_in_a_hurry_nothing_more_is_kept(gate: Gate) -> None:
    await gate.acquires()

    async def owner() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await gate.lease.release()

    running = asyncio.create_task(owner())
    await turns()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert Word.LEAVE not in gate.custody.did
    assert gate.inner.released_with == 1


async def test_who_waits_no_longer_is_not_admitted_later(gate: Gate) -> None:
    gate.custody.free.clear()
    acquiring = gate.acquires()
    await turns()
    acquiring.cancel()
    await asyncio.gather(acquiring, return_exceptions=True)
    assert gate.custody.did[-1] is Word.ABORTED
    await gate.lease.release()
    assert Word.LEAVE not in gate.custody.did

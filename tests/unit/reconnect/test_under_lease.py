"""Only the holder of the lease connects."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.engine.protocol import LoggedOut, StreamReplaced, TemporaryBan
from service.reconnect.lease_metrics import Hindrance
from service.reconnect.reason import Reason
from service.reconnect.status import State
from tests.unit.reconnect.fakes import World

HOUR = 3600.0


@pytest.fixture
async def standby() -> AsyncIterator[World]:
    """Another process holds the lease."""
    world = World()
    world.lease.keep_away()
    async with world.lives():
        yield world


@pytest.fixture
async def online() -> AsyncIterator[World]:
    async with World().lives() as world:
        await world.connects()
        await world.passes(60)
        yield world


async def test_who_holds_the_lease_at_once_is_never_seen_waiting_for_it(online: World) -> None:
    assert State.WAITING_FOR_LEASE not in {status.state for status in online.statuses}
    assert online.supervisor.fence == 1


@pytest.mark.parametrize(
    ("hindrance", "reason"),
    [
        (Hindrance.HELD_ELSEWHERE, Reason.LEASE_HELD_ELSEWHERE),
        (Hindrance.UNREACHABLE, Reason.LEASE_UNREACHABLE),
        (Hindrance.REFUSED, Reason.LEASE_REFUSED),
        (Hindrance.DATA_DIR, Reason.LEASE_UNWRITABLE),
        (Hindrance.VAULT_UNREACHABLE, Reason.VAULT_UNREACHABLE),
        (Hindrance.BACKUP_UNREADABLE, Reason.BACKUP_UNREADABLE),
        (Hindrance.BACKUP_KEY_MISSING, Reason.BACKUP_KEY_MISSING),
    ],
)
async def test_without_the_lease_no_engine_is_started_and_the_reason_is_told(
    hindrance: Hindrance, reason: Reason
) -> None:
    world = World()
    world.lease.keep_away(hindrance)
    async with world.lives():
        await world.passes(HOUR)
        assert (world.state(), world.status.reason) == (State.WAITING_FOR_LEASE, reason)
        assert world.supervisor.fence is None
        assert not world.engines


async def test_a_lease_that_comes_free_is_followed_by_a_login_at_once(standby: World) -> None:
    standby.lease.lose()
    await standby.settle()
    assert len(standby.logins) == 1
    await standby.connects()
    assert standby.state() is State.CONNECTED


async def test_a_lost_lease_kills_the_engine_and_is_asked_for_when_that_has_ended(online: World) -> None:
    online.end_takes_s = 3.0
    online.lease.lose()
    await online.settle()
    assert (online.state(), online.status.reason) == (State.WAITING_FOR_LEASE, Reason.LEASE_LOST)
    assert online.engine.ended_by == "kill"
    assert online.metric("whatsapp_disconnects_total", reason="lease_lost") == 1
    await online.passes(2.9)
    assert online.lease.fence is None, "two could connect at once"
    await online.passes(0.1)
    assert online.supervisor.fence == 2
    assert len(online.logins) == 2


async def test_an_engine_that_may_end_gently_is_killed_when_the_lease_is_lost(online: World) -> None:
    online.end_takes_s = 3.0
    await online.happens(TemporaryBan(code=101, expire_s=HOUR))
    assert online.engine.ended_by == "stop"
    online.lease.keep_away()
    await online.settle()
    assert online.engine.kills == 1
    assert online.state() is State.BANNED


async def test_a_gentle_end_stays_one_that_a_lost_lease_cuts_short_after_a_restart(online: World) -> None:
    online.end_takes_s = 3.0
    await online.happens(LoggedOut(on_connect=True, reason=401))
    await online.supervisor.restart()
    await online.settle()
    assert online.engine.kills == 0
    online.lease.lose()
    await online.settle()
    assert online.engine.kills == 1


async def test_a_lease_that_keeps_being_lost_does_not_make_logins_faster(online: World) -> None:
    waits = []
    for _ in range(5):
        logins = len(online.logins)
        online.lease.lose()
        await online.settle()
        waits.append(0)
        while len(online.logins) == logins:
            await online.passes(1)
            waits[-1] += 1
    assert waits == [0, 4, 8, 16, 32]


async def test_the_retry_after_a_replacement_waits_for_the_lease_too(online: World) -> None:
    await online.happens(StreamReplaced())
    online.lease.keep_away()
    await online.passes(44)
    assert online.state() is State.REPLACED
    await online.passes(HOUR)
    assert online.state() is State.WAITING_FOR_LEASE
    assert len(online.logins) == 1
    online.lease.lose()
    await online.settle()
    assert len(online.logins) == 2


async def test_what_only_the_operator_ends_is_not_ended_by_a_new_lease(online: World) -> None:
    await online.happens(LoggedOut(on_connect=False, reason=401))
    online.lease.lose()
    await online.passes(HOUR)
    assert online.state() is State.LOGGED_OUT
    assert not online.running
    await online.supervisor.restart()
    await online.settle()
    assert online.state() is State.UNPAIRED


async def test_the_operator_restarts_nothing_without_the_lease(standby: World) -> None:
    await standby.supervisor.restart()
    await standby.supervisor.clear()
    await standby.passes(HOUR)
    assert not standby.engines
    assert standby.state() is State.WAITING_FOR_LEASE
    assert standby.cleared == 1


async def test_a_stop_gives_the_lease_up_when_the_engine_has_ended(online: World) -> None:
    online.end_takes_s = 3.0
    stopping = asyncio.create_task(online.supervisor.stop())
    await online.passes(2.9)
    assert online.lease.fence == 1
    await online.passes(0.1)
    await stopping
    assert online.lease.released_with == 1
    assert online.supervisor.fence is None


async def test_a_stop_while_waiting_for_the_lease_ends_the_waiting(standby: World) -> None:
    await standby.supervisor.stop()
    assert standby.state() is State.STOPPED

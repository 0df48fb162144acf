"""What the operator may ask of the connection, and when."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.engine.protocol import ConnectEnded, Paired, QrCode, StreamReplaced
from service.errors import EngineRefused, StoreUnavailable
from service.reconnect.reason import Reason
from service.reconnect.status import Advice, State
from tests.unit.reconnect.fakes import DEVICE, World


@pytest.fixture
async def online() -> AsyncIterator[World]:
    async with World().lives() as world:
        await world.connects()
        await world.passes(60)
        yield world


@pytest.fixture
async def pairing() -> AsyncIterator[World]:
    async with World(device=None).lives() as world:
        await world.happens(QrCode(code="one"))
        yield world


# --- logout ---------------------------------------------------------------------------------------


async def test_a_logout_forgets_the_session_and_waits_for_a_restart(online: World) -> None:
    await online.supervisor.logout()
    assert (online.state(), online.status.reason) == (State.LOGGED_OUT, Reason.LOGOUT_ASKED)
    assert online.status.next_attempt_at is None
    await online.passes(3600)
    assert not online.running
    assert online.device is None
    assert len(online.logins) == 1
    await online.supervisor.restart()
    await online.settle()
    assert online.state() is State.UNPAIRED
    assert len(online.running) == 1


async def test_a_logout_without_a_connection_is_refused_because_nobody_would_be_told(online: World) -> None:
    await online.happens(ConnectEnded(text="EOF"))
    with pytest.raises(EngineRefused, match="connecting"):
        await online.supervisor.logout()
    assert online.device == DEVICE


async def test_a_logout_that_whatsapp_refuses_changes_nothing(online: World) -> None:
    online.logout_refused = True
    with pytest.raises(EngineRefused, match="the server said no"):
        await online.supervisor.logout()
    await online.settle()
    assert online.state() is State.CONNECTED
    assert online.device == DEVICE


# --- clear ----------------------------------------------------------------------------------------


async def test_clearing_removes_the_session_between_two_engines_and_begins_pairing(online: World) -> None:
    first = online.engine
    await online.supervisor.clear()
    assert online.cleared == 1
    assert first.ended_by == "kill"
    await online.settle()
    assert (online.state(), len(online.running)) == (State.UNPAIRED, 1)
    await online.happens(QrCode(code="one"))
    assert online.state() is State.PAIRING


async def test_clearing_waits_for_an_engine_that_is_slow_to_end(online: World) -> None:
    online.end_takes_s = 4.0
    clearing = asyncio.create_task(online.supervisor.clear())
    await online.passes(3.9)
    assert (online.cleared, online.state(), online.status.advice) == (0, State.UNPAIRED, Advice.SCAN_QR)
    await online.passes(0.1)
    await clearing
    assert online.cleared == 1


async def test_a_session_is_cleared_while_nothing_runs_too(online: World) -> None:
    await online.happens(StreamReplaced())
    await online.settle()
    assert not online.running
    await online.supervisor.clear()
    await online.settle()
    assert (online.cleared, online.state(), len(online.running)) == (1, State.UNPAIRED, 1)


async def test_two_who_clear_at_once_get_one_empty_session(online: World) -> None:
    await asyncio.gather(online.supervisor.clear(), online.supervisor.clear())
    await online.settle()
    assert online.cleared == 1
    assert len(online.running) == 1


async def test_a_session_that_cannot_be_removed_is_said_and_the_connection_goes_on(online: World) -> None:
    online.remove_fails = True
    with pytest.raises(StoreUnavailable, match="read-only"):
        await online.supervisor.clear()
    await online.settle()
    await online.connects()
    assert online.state() is State.CONNECTED


async def test_a_stop_in_the_midst_of_clearing_still_clears(online: World) -> None:
    online.end_takes_s = 4.0
    clearing = asyncio.create_task(online.supervisor.clear())
    await online.settle()
    stopping = asyncio.create_task(online.supervisor.stop())
    await online.passes(4)
    await asyncio.gather(clearing, stopping)
    assert (online.cleared, online.state()) == (1, State.STOPPED)


async def test_a_stopped_connection_clears_nothing(online: World) -> None:
    await online.supervisor.stop()
    with pytest.raises(EngineRefused, match="stopped"):
        await online.supervisor.clear()
    assert online.cleared == 0


# --- pairing --------------------------------------------------------------------------------------


async def test_an_aborted_pairing_offers_no_codes_until_a_restart(pairing: World) -> None:
    await pairing.supervisor.abort_pairing()
    assert (pairing.state(), pairing.status.reason) == (State.UNPAIRED, Reason.PAIRING_ABORTED)
    assert pairing.status.qr is None
    await pairing.passes(3600)
    assert not pairing.running
    await pairing.supervisor.restart()
    await pairing.settle()
    await pairing.happens(QrCode(code="two"))
    assert pairing.status.qr == "two"


async def test_a_pairing_that_the_phone_has_accepted_is_not_aborted(pairing: World) -> None:
    await pairing.happens(Paired(jid=DEVICE))
    with pytest.raises(EngineRefused, match="connecting"):
        await pairing.supervisor.abort_pairing()


async def test_without_a_pairing_there_is_nothing_to_abort(online: World) -> None:
    with pytest.raises(EngineRefused, match="connected"):
        await online.supervisor.abort_pairing()
    assert online.state() is State.CONNECTED


# --- presence -------------------------------------------------------------------------------------


async def test_presence_is_told_while_connected_and_refused_otherwise(online: World) -> None:
    await online.supervisor.presence(available=True)
    await online.supervisor.presence(available=False)
    assert online.presences == [True, False]
    await online.dies()
    with pytest.raises(EngineRefused, match="backing_off"):
        await online.supervisor.presence(available=True)

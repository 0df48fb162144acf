"""What the supervisor does, event by event, on a clock that stands still."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.engine.content import Text
from service.engine.exits import ExitCause
from service.engine.protocol import (
    AnyEvent,
    ClientOutdated,
    Connected,
    ConnectEnded,
    ConnectFailure,
    Disconnected,
    Heartbeat,
    KeepAliveRestored,
    KeepAliveTimeout,
    LoggedOut,
    Paired,
    PairingEnded,
    QrCode,
    Receipt,
    ReceiptKind,
    Refusal,
    Refused,
    Sent,
    StreamError,
    StreamReplaced,
    TemporaryBan,
)
from service.errors import EngineRefused
from service.reconnect.reason import Reason
from service.reconnect.status import Advice, State
from tests.unit.reconnect.fakes import DEVICE, World

HOUR = 3600.0
LOST = Disconnected()
RECEIPT = Receipt(
    message_ids=("3EB0",), receipt=ReceiptKind.DELIVERED, chat="c", sender="s", from_me=False, timestamp=0.0
)


def beat(*, connected: bool = True, logged_in: bool = True) -> Heartbeat:
    return Heartbeat(
        connected=connected,
        logged_in=logged_in,
        events_queued=0,
        sends_at_hand=0,
        resident_bytes=0,
        threads=0,
        open_fds=0,
        unraisable=0,
    )


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Paired; the engine is logging in."""
    async with World().lives() as world:
        yield world


@pytest.fixture
async def online(world: World) -> World:
    """Connected, and stable."""
    await world.connects()
    await world.passes(60)
    return world


@pytest.fixture
async def unpaired() -> AsyncIterator[World]:
    async with World(device=None).lives() as world:
        yield world


async def send(world: World) -> Sent | Refused:
    return await world.supervisor.send(
        token=1,
        chat="c",
        content=Text(text="t"),
        file=None,
        secret=b"s" * 32,
        behind=None,
        traceparent=None,
    )


# --- the ordinary way -----------------------------------------------------------------------------


async def test_a_linked_session_is_logged_in(world: World) -> None:
    assert world.state() is State.CONNECTING
    assert not world.supervisor.connected
    await world.connects()
    assert world.state() is State.CONNECTED
    assert world.supervisor.connected
    assert world.metric("whatsapp_connected") == 1
    assert world.metric("whatsapp_connect_attempts_total", result="connected") == 1


async def test_only_a_connected_account_sends(world: World) -> None:
    refused = await send(world)
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.NOT_CONNECTED
    await world.connects()
    assert isinstance(await send(world), Sent)


async def test_listeners_hear_an_event_after_the_state_has_moved(world: World) -> None:
    seen: list[tuple[AnyEvent, State]] = []
    world.supervisor.listen(lambda event: seen.append((event, world.state())))
    await world.connects()
    assert seen == [(Connected(jid=DEVICE), State.CONNECTED)]


async def test_a_receipt_of_an_engine_that_is_gone_still_reaches_the_listeners(online: World) -> None:
    heard: list[AnyEvent] = []
    online.supervisor.listen(heard.append)
    first = online.engine
    await online.dies()
    await online.passes(2)
    assert online.engine is not first
    first.tell(RECEIPT)
    first.tell(StreamReplaced())
    await online.settle()
    assert RECEIPT in heard
    assert online.state() is State.CONNECTING, "an old engine's replacement is not ours"


async def test_stopping_ends_the_engine_gently(online: World) -> None:
    await online.supervisor.stop()
    assert online.state() is State.STOPPED
    assert online.engine.ended_by == "stop"
    assert not online.running


async def test_a_stop_while_the_engine_starts_leaves_no_engine() -> None:
    world = World()
    running = asyncio.create_task(world.supervisor.run())
    while not world.engines:
        await asyncio.sleep(0)
    await world.supervisor.stop()
    await running
    assert world.state() is State.STOPPED
    assert not world.logins


async def test_cancelled_it_kills_the_engine() -> None:
    world = World()
    running = asyncio.create_task(world.supervisor.run())
    while not world.logins:
        await asyncio.sleep(0)
    await world.settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert world.engine.ended_by == "kill"
    assert not world.running


# --- pairing --------------------------------------------------------------------------------------


async def test_each_qr_code_replaces_the_one_before(unpaired: World) -> None:
    assert unpaired.state() is State.UNPAIRED
    await unpaired.happens(QrCode(code="one"))
    assert (unpaired.state(), unpaired.status.qr) == (State.PAIRING, "one")
    assert unpaired.status.advice is Advice.SCAN_QR
    await unpaired.happens(QrCode(code="two"))
    assert unpaired.status.qr == "two"


async def test_after_pairing_the_engine_is_new_before_connected_is_announced(unpaired: World) -> None:
    await unpaired.happens(QrCode(code="one"), Paired(jid=DEVICE))
    assert (unpaired.state(), unpaired.status.qr) == (State.CONNECTING, None)
    unpaired.device = DEVICE
    await unpaired.connects()
    assert len(unpaired.logins) == 2, "without a wait"
    assert State.CONNECTED not in {status.state for status in unpaired.statuses}
    await unpaired.connects()
    assert unpaired.state() is State.CONNECTED
    assert unpaired.metric("whatsapp_pairings_total", method="qr", result="paired") == 1


async def test_silence_after_pairing_is_ended_by_a_new_login(unpaired: World) -> None:
    await unpaired.happens(QrCode(code="one"), Paired(jid=DEVICE))
    unpaired.device = DEVICE
    await unpaired.happens(Disconnected())
    await unpaired.passes(19)
    assert len(unpaired.logins) == 1
    await unpaired.passes(1)
    assert len(unpaired.logins) == 2
    assert unpaired.status.reason == Reason.LOGGING_IN


async def test_used_up_codes_are_replaced_at_once_and_then_ever_more_slowly_up_to_30_s(
    unpaired: World,
) -> None:
    waits = []
    for _ in range(7):
        await unpaired.happens(QrCode(code="one"), PairingEnded(text="timeout"))
        waits.append(0.0)
        while unpaired.status.reason != Reason.WAITING_FOR_QR:
            assert unpaired.state() is State.UNPAIRED
            await unpaired.passes(1)
            waits[-1] += 1
    assert waits == [0, 4, 8, 16, 30, 30, 30]
    assert unpaired.metric("whatsapp_pairings_total", method="qr", result="expired") == 7


async def test_a_pairing_that_goes_silent_is_begun_anew(unpaired: World) -> None:
    await unpaired.happens(QrCode(code="one"))
    await unpaired.passes(90)
    assert len(unpaired.logins) == 2
    await unpaired.passes(60)
    assert unpaired.status.reason == Reason.PAIRING_OVERDUE


async def test_a_pairing_code_is_shown_as_long_as_the_pairing_lasts(unpaired: World) -> None:
    with pytest.raises(EngineRefused, match="unpaired"):
        await unpaired.supervisor.pair_phone("15550000001")
    await unpaired.happens(QrCode(code="one"))
    assert await unpaired.supervisor.pair_phone("15550000001") == "ABCD-EFGH"
    await unpaired.settle()
    assert unpaired.status.pair_code == "ABCD-EFGH"
    await unpaired.happens(QrCode(code="two"))
    assert unpaired.status.pair_code == "ABCD-EFGH"
    await unpaired.happens(Paired(jid=DEVICE))
    assert unpaired.status.pair_code is None
    assert unpaired.metric("whatsapp_pairings_total", method="code", result="paired") == 1


# --- losses ---------------------------------------------------------------------------------------


async def test_a_short_drop_is_left_to_whatsmeow(online: World) -> None:
    await online.happens(LOST)
    assert online.state() is State.CONNECTING
    await online.passes(19)
    await online.connects()
    assert online.state() is State.CONNECTED
    assert len(online.engines) == 1
    assert online.metric("whatsapp_connection_outage_seconds_sum") == 19
    assert online.metric("whatsapp_disconnects_total", reason="connection_lost") == 1


async def test_after_20_s_the_supervisor_takes_over(online: World) -> None:
    await online.happens(LOST, LOST)
    await online.passes(20)
    assert online.state() is State.BACKING_OFF
    assert online.engine.ended_by == "kill"
    await online.passes(2)
    assert len(online.logins) == 2


async def test_lost_pings_stop_the_sending_and_answered_ones_bring_it_back(online: World) -> None:
    await online.happens(KeepAliveTimeout(failures=1, last_success=0.0))
    assert online.state() is State.CONNECTED
    await online.happens(KeepAliveTimeout(failures=2, last_success=0.0))
    assert online.state() is State.DEGRADED
    assert isinstance(await send(online), Refused)
    await online.happens(KeepAliveRestored())
    assert online.state() is State.CONNECTED


async def test_a_socket_that_died_silent_is_degraded_until_connected_says_otherwise(online: World) -> None:
    await online.happens(KeepAliveTimeout(failures=2, last_success=0.0))
    await online.connects()
    assert online.state() is State.CONNECTED


async def test_pings_lost_for_minutes_recycle_the_engine(online: World) -> None:
    for failures in range(2, 8):
        await online.happens(KeepAliveTimeout(failures=failures, last_success=0.0))
        await online.passes(29)
    assert len(online.logins) == 1
    await online.passes(6)
    assert len(online.logins) == 2


async def test_not_ready_for_a_minute_recycles_the_engine(online: World) -> None:
    await online.happens(beat(connected=False))
    await online.passes(59)
    assert len(online.logins) == 1
    await online.passes(1)
    assert len(online.logins) == 2
    assert online.metric("whatsapp_engine_recycles_total", reason="not_ready") == 1


async def test_ready_again_within_the_minute_is_forgiven(online: World) -> None:
    await online.happens(beat(logged_in=False))
    await online.passes(59)
    await online.happens(beat())
    await online.passes(30)
    assert len(online.logins) == 1


async def test_a_dead_event_loop_is_replaced_at_once(online: World) -> None:
    await online.happens(ConnectEnded(text="required field Receipt.Type not set"))
    assert len(online.logins) == 2
    assert online.metric("whatsapp_disconnects_total", reason="event_loop_died") == 1


async def test_when_it_dies_again_before_it_was_stable_the_backoff_counts(online: World) -> None:
    for expected in (2, 2, 3):
        await online.connects()
        await online.happens(ConnectEnded(text="again"))
        assert len(online.logins) == expected
        await online.passes(4)


async def test_a_login_that_is_not_answered_is_tried_again(world: World) -> None:
    await world.passes(60)
    assert (world.state(), world.status.reason) == (State.BACKING_OFF, Reason.LOGIN_OVERDUE)
    await world.passes(2)
    assert len(world.logins) == 2


# --- backing off ----------------------------------------------------------------------------------


async def test_the_first_retry_after_a_death_is_within_2_s(online: World) -> None:
    await online.dies(ExitCause.KILLED)
    assert (online.state(), online.status.reason) == (State.BACKING_OFF, Reason.ENGINE_KILLED)
    assert online.status.attempt == 1
    assert online.status.next_attempt_at == online.clock.now() + 2
    await online.passes(2)
    assert len(online.logins) == 2


async def test_waits_grow_until_the_connection_was_stable_for_a_minute(online: World) -> None:
    for ceiling in (2, 4, 8):
        await online.dies(ExitCause.CRASHED)
        assert online.status.next_attempt_at == online.clock.now() + ceiling
        await online.passes(ceiling)
        await online.connects()
        await online.passes(59)
    await online.passes(1)
    assert online.status.attempt == 0
    await online.dies(ExitCause.CRASHED)
    assert online.status.next_attempt_at == online.clock.now() + 2


async def test_kills_from_outside_make_no_wait_long_and_lengthen_no_other(online: World) -> None:
    for ceiling in (2, 4, 5, 5, 5):
        await online.dies(ExitCause.KILLED)
        assert online.status.next_attempt_at == online.clock.now() + ceiling
        await online.passes(ceiling)
        await online.connects()
    await online.dies(ExitCause.CRASHED)
    assert online.status.next_attempt_at == online.clock.now() + 2


async def test_forty_kills_within_ten_minutes_are_a_loop(online: World) -> None:
    for _ in range(39):
        await online.dies(ExitCause.KILLED)
        await online.passes(5)
        await online.connects()
    await online.dies(ExitCause.KILLED)
    assert online.status.reason == Reason.ENGINE_CRASH_LOOP


async def test_no_login_is_made_while_whatsapp_cannot_be_reached(online: World) -> None:
    online.reachable = False
    await online.dies()
    await online.passes(HOUR)
    assert len(online.logins) == 1
    assert (online.state(), online.status.reason) == (State.BACKING_OFF, Reason.NETWORK_UNREACHABLE)
    assert online.status.advice is Advice.CHECK_NETWORK
    online.reachable = True
    await online.passes(5)
    assert len(online.logins) == 2


async def test_a_network_that_comes_back_ends_the_wait_early(online: World) -> None:
    for _ in range(7):
        await online.dies(ExitCause.KILLED)
        await online.passes(300)
    await online.dies(ExitCause.KILLED)
    logins = len(online.logins)
    await online.passes(30)
    assert len(online.logins) == logins, "a network that was never away ends nothing"
    online.reachable = False
    await online.passes(5)
    online.reachable = True
    await online.passes(5)
    assert len(online.logins) == logins + 1


async def test_without_a_network_an_engine_waits_and_does_not_connect() -> None:
    world = World()
    world.reachable = False
    async with world.lives():
        while world.state() is State.STARTING:
            await asyncio.sleep(0)
        assert world.status.reason == Reason.NETWORK_UNREACHABLE
        assert world.status.next_attempt_at is not None
        await world.passes(60)
        assert (len(world.engines), len(world.logins)) == (1, 0)
        assert world.supervisor.engine is None
        world.reachable = True
        await world.passes(1)
        assert (len(world.engines), len(world.logins)) == (1, 1)


async def test_a_failed_dial_tells_its_reason(world: World) -> None:
    await world.happens(ConnectEnded(text="dial tcp: lookup web.whatsapp.com: no such host"))
    assert (world.state(), world.status.reason) == (State.BACKING_OFF, Reason.DNS_FAILED)
    assert world.metric("whatsapp_connect_attempts_total", result="network") == 1


async def test_an_engine_that_does_not_start_is_tried_again_and_then_held_off() -> None:
    world = World()
    world.start_fails = True
    async with world.lives():
        for ceiling in (2, 4, 8, 16):
            assert world.status.reason == Reason.ENGINE_START_FAILED
            await world.passes(ceiling)
        assert world.status.reason == Reason.ENGINE_CRASH_LOOP
        assert world.status.advice is Advice.READ_LOG
        engines = len(world.engines)
        await world.passes(15 * 60)
        assert len(world.engines) == engines
        world.start_fails = False
        await world.passes(5 * 60)
        assert len(world.logins) == 1


async def test_an_engine_that_refuses_to_connect_is_tried_again() -> None:
    world = World()
    world.connect_refused = True
    async with world.lives():
        assert (world.state(), world.status.reason) == (State.BACKING_OFF, Reason.ENGINE_REFUSED)
        world.connect_refused = False
        await world.passes(2)
        assert len(world.logins) == 1


# --- what WhatsApp says ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (LoggedOut(on_connect=False, reason=401), State.LOGGED_OUT),
        (LoggedOut(on_connect=True, reason=401), State.LOGGED_OUT),
        (LoggedOut(on_connect=True, reason=403), State.LOGGED_OUT),
        (LoggedOut(on_connect=True, reason=406), State.BANNED),
        (ConnectFailure(reason=409, text=""), State.OUTDATED),
    ],
    ids=["unlinked", "logged out", "locked", "banned", "bad user agent"],
)
async def test_it_stops_where_going_on_does_harm(online: World, event: AnyEvent, state: State) -> None:
    await online.happens(event)
    assert online.state() is state
    assert online.status.next_attempt_at is None
    await online.passes(48 * HOUR)
    assert len(online.logins) == 1
    assert not online.running
    assert online.state() is state


async def test_after_a_logout_a_restart_leads_to_pairing(online: World) -> None:
    await online.happens(LoggedOut(on_connect=False, reason=401))
    assert online.device is None, "whatsmeow may not have come to deleting it"
    await online.supervisor.restart()
    await online.settle()
    assert online.state() is State.UNPAIRED
    await online.happens(QrCode(code="one"))
    assert online.state() is State.PAIRING


async def test_a_restart_in_the_midst_of_a_logout_leads_to_pairing_too(online: World) -> None:
    online.end_takes_s = 3.0
    await online.happens(LoggedOut(on_connect=True, reason=401))
    await online.supervisor.restart()
    await online.passes(3)
    assert online.state() is State.UNPAIRED


async def test_replaced_is_tried_once_more_and_then_held(online: World) -> None:
    await online.happens(StreamReplaced())
    assert (online.state(), online.status.advice) == (State.REPLACED, Advice.CHECK_OTHER_INSTANCE)
    await online.passes(44)
    assert len(online.logins) == 1
    await online.passes(1)
    await online.connects()
    await online.happens(StreamReplaced())
    assert online.status.reason == Reason.REPLACED_AGAIN
    await online.passes(48 * HOUR)
    assert len(online.logins) == 2


async def test_a_replacement_long_after_the_first_is_tried_again(online: World) -> None:
    await online.happens(StreamReplaced())
    await online.passes(45)
    await online.connects()
    await online.passes(HOUR)
    await online.happens(StreamReplaced())
    assert online.status.reason == Reason.REPLACED


@pytest.mark.parametrize(("expire_s", "waited"), [(1000.0, 1200.0), (0.0, 1.1 * 24 * HOUR)])
async def test_a_ban_is_waited_out_with_a_margin(world: World, expire_s: float, waited: float) -> None:
    await world.happens(TemporaryBan(code=101, expire_s=expire_s))
    assert world.state() is State.BANNED
    assert world.status.next_attempt_at == pytest.approx(world.clock.now() + waited)
    await world.passes(waited - 1)
    assert len(world.logins) == 1
    await world.passes(1)
    assert len(world.logins) == 2


async def test_outdated_is_tried_again_after_half_a_day(world: World) -> None:
    await world.happens(ClientOutdated())
    assert (world.state(), world.status.advice) == (State.OUTDATED, Advice.UPGRADE)
    await world.passes(12 * HOUR)
    assert len(world.logins) == 2


async def test_a_refusal_is_tried_again_after_one_two_and_four_minutes(world: World) -> None:
    for minutes in (1, 2, 4, 8, 15, 15):
        await world.happens(ConnectFailure(reason=400, text="bad request"))
        assert world.status.next_attempt_at == world.clock.now() + minutes * 60
        await world.passes(minutes * 60)


async def test_the_third_stream_error_in_ten_minutes_pauses_the_sending(online: World) -> None:
    for _ in range(2):
        await online.happens(StreamError(code="400"), LOST)
        assert online.status.reason == Reason.STREAM_ERROR
        await online.connects()
        await online.passes(60)
    await online.happens(StreamError(code="400"))
    assert (online.state(), online.status.reason) == (State.BACKING_OFF, Reason.STREAM_ERROR_REPEATED)


async def test_a_verdict_that_comes_after_the_loss_wins(online: World) -> None:
    online.end_takes_s = 5.0
    await online.happens(ConnectEnded(text="EOF"))
    assert online.state() is State.CONNECTING
    await online.happens(TemporaryBan(code=104, expire_s=3600.0))
    assert online.state() is State.BANNED
    await online.happens(Disconnected(), ConnectEnded(text=""), Connected(jid=DEVICE))
    assert online.state() is State.BANNED
    await online.passes(1000)
    assert len(online.logins) == 1


# --- the operator ---------------------------------------------------------------------------------


async def test_a_restart_ends_every_wait_and_forgets_the_attempts(online: World) -> None:
    for _ in range(6):
        await online.dies(ExitCause.KILLED)
        await online.passes(300)
    await online.dies(ExitCause.KILLED)
    logins = len(online.logins)
    await online.supervisor.restart()
    await online.settle()
    assert len(online.logins) == logins + 1
    assert online.status.attempt == 1


async def test_a_new_engine_waits_for_the_end_of_the_old_one(online: World) -> None:
    online.end_takes_s = 5.0
    await online.supervisor.restart()
    await online.passes(4.9)
    assert len(online.engines) == 1
    await online.passes(0.1)
    assert len(online.engines) == 2
    assert len(online.running) == 1


async def test_someone_who_unsubscribed_hears_no_more(online: World) -> None:
    heard: list[State] = []
    unsubscribe = online.supervisor.subscribe(lambda status: heard.append(status.state))
    await online.happens(LOST)
    unsubscribe()
    await online.connects()
    assert heard == [State.CONNECTING]


# --- what is seen ---------------------------------------------------------------------------------


async def test_time_in_each_state_is_counted(online: World) -> None:
    await online.happens(LOST)
    await online.passes(7)
    await online.connects()
    await online.passes(3)
    name = "whatsapp_connection_state_seconds_total"
    assert online.metric(name, state="connected") == 63
    assert online.metric(name, state="connecting") == 7


async def test_what_comes_from_whatsapp_is_dated_and_a_heartbeat_or_a_loss_is_not(online: World) -> None:
    name = "whatsapp_last_stanza_timestamp_seconds"
    connected_at = online.metric(name)
    await online.happens(beat(), KeepAliveTimeout(failures=1, last_success=0.0), LOST)
    assert online.metric(name) == connected_at
    await online.passes(1)
    await online.happens(RECEIPT)
    assert online.metric(name) == online.clock.now() == connected_at + 1


async def test_a_retry_is_traced_with_its_wait_and_its_login_inside(online: World) -> None:
    online.spans.clear()
    await online.dies(ExitCause.KILLED)
    await online.passes(2)
    await online.connects()
    connect, retry = online.spans.get_finished_spans()
    assert (connect.name, retry.name) == ("connect", "reconnect attempt")
    assert connect.parent is not None
    assert connect.parent.span_id == retry.context.span_id
    assert dict(retry.attributes or {}) == {
        "whatsapp.reason": "engine_killed",
        "whatsapp.attempt": 1,
        "whatsapp.wait_s": 2.0,
        "whatsapp.outcome": "connected",
    }
    assert [event.name for event in connect.events] == ["engine started", "Connected"]


async def test_a_failed_login_is_an_error_in_the_trace(world: World) -> None:
    await world.happens(ConnectEnded(text="no such host"))
    (connect,) = world.spans.get_finished_spans()
    assert not connect.status.is_ok
    assert (connect.attributes or {})["error.type"] == "dns_failed"

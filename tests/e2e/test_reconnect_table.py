"""Every row of the decision table, played on the simulator with real neonize. The ids are the row numbers.

Each test says what happened, what people are told, what is counted, and what is done next. The supervisor's
clock stands still until a test moves it; its waits are the longest that chance allows.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio

from service.reconnect.policy import TABLE
from service.reconnect.reason import Reason
from service.reconnect.rule import PAUSE
from service.reconnect.status import Advice, State
from service.simulator.server import Simulator
from service.simulator.stanza import Node
from tests.e2e.reconnect_account import Row, copy_session
from tests.people import ANN, BEACON
from tests.ports import free_port

QUARTER_S = PAUSE.high_s
HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
PINGS_S = 90.0
"""Two lost pings at the most: whatsmeow's are 20 to 30 s apart and wait 10 s each, in real time."""

Test = TypeVar("Test", bound=Callable[..., object])


def row(number: str, *, of: str = "account") -> Callable[[Test], Test]:
    """The test of that row, which is played with that fixture."""
    marks = (pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240))
    return pytest.mark.parametrize(of, [pytest.param(number, id=number, marks=marks)], indirect=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whatsapp(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Simulator]:
    """One server for all rows."""
    async with Simulator(tmp_path_factory.mktemp("simulator"), port=free_port()) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session(whatsapp: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session of a linked device, of which every test gets a copy."""
    first = Row(whatsapp, tmp_path_factory.mktemp("session"))
    await first.links()
    return first.session.path


@pytest_asyncio.fixture(loop_scope="module")
async def account(whatsapp: Simulator, session: Path, tmp_path: Path) -> AsyncIterator[Row]:
    """The account of one row: linked, and nothing runs yet."""
    copy_session(session, tmp_path / "session.db")
    devices = whatsapp.accounts[BEACON].devices
    linked = dict(devices)
    account = Row(whatsapp, tmp_path)
    try:
        yield account
    finally:
        await account.ends()
        whatsapp.faults.heal()
        devices.update(linked)  # a row may have unlinked it


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def dead_lines(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mapping[str, Row]]:
    """Accounts for two rows whose lines are dead while all others are played: whatsmeow's pings take time."""
    lines = {}
    async with AsyncExitStack() as stack:
        for number in ("2", "3"):
            folder = tmp_path_factory.mktemp("line")
            line = Row(await stack.enter_async_context(Simulator(folder, port=free_port())), folder)
            stack.push_async_callback(line.ends)
            await line.starts()
            await line.pair()
            await line.told(Reason.CONNECTED, State.CONNECTED)
            await line.settles()
            line.simulator.faults.half_open(BEACON)
            lines[number] = line
        yield lines


@pytest.fixture
def dead_line(dead_lines: Mapping[str, Row], request: pytest.FixtureRequest) -> Row:
    """An account that was connected, and whose line lets nothing through any more."""
    return dead_lines[request.param]


@row("1")
async def test_a_lost_connection_is_waited_for_and_then_made_anew(account: Row) -> None:
    await account.connects()
    account.simulator.faults.refuse()
    account.simulator.faults.cut(BEACON)
    await account.told(Reason.CONNECTION_LOST, State.CONNECTING)
    assert account.lost(Reason.CONNECTION_LOST) == 1
    await account.passes(20)
    await account.told(Reason.NO_RECONNECT, State.BACKING_OFF, Advice.CHECK_NETWORK)
    assert account.given_up(Reason.NO_RECONNECT) == 1
    account.simulator.faults.heal()
    await account.logs_in_again(after_s=2)


@row("4")
async def test_a_login_counts_as_success_once_it_has_lasted(account: Row) -> None:
    await account.connects()
    account.kill_engine()
    await account.told(Reason.ENGINE_KILLED, State.BACKING_OFF)
    await account.logs_in_again(after_s=2)
    assert account.status.attempt == 1, "connected, but the attempt is remembered"
    assert account.attempts("connected") == 2
    await account.passes(60)
    await account.until(lambda status: status.attempt == 0)


@row("5")
async def test_silence_after_a_515_is_ended_by_a_new_engine(account: Row) -> None:
    await account.connects()
    account.simulator.faults.refuse()  # whatsmeow tries once after a 515, and tells nobody that it failed
    account.simulator.faults.end("restart", BEACON)
    await account.until(lambda _: 60.0 in account.clock.sleeps)
    assert account.supervisor.connected, "neonize has said nothing"
    account.simulator.faults.heal()
    await account.passes(60)
    await account.told(Reason.NOT_READY, State.CONNECTING)
    assert account.lost(Reason.NOT_READY) == account.given_up(Reason.NOT_READY) == 1
    await account.told(Reason.CONNECTED, State.CONNECTED)
    assert len(account.engines) == 2


@row("6")
async def test_a_server_that_restarts_is_reconnected_to_in_place(account: Row) -> None:
    await account.connects()
    account.simulator.faults.end("restarting_soon", BEACON)
    await account.told(Reason.CONNECTION_LOST, State.CONNECTING)
    assert account.lost(Reason.CONNECTION_LOST) == 1
    await account.heals_in_place()


@row("7")
async def test_a_device_removed_on_the_phone_waits_to_be_linked_again(account: Row) -> None:
    await account.connects()
    account.simulator.faults.end("device_removed", BEACON)
    await account.told(Reason.UNLINKED, State.LOGGED_OUT, Advice.SCAN_QR)
    assert account.lost(Reason.UNLINKED) == account.given_up(Reason.UNLINKED) == 1
    await account.holds()
    assert await account.session.device_jid() is None


@row("8")
async def test_a_connection_taken_by_another_program_is_tried_once_more(account: Row) -> None:
    await account.connects()
    account.simulator.faults.end("replaced", BEACON)
    await account.told(Reason.REPLACED, State.REPLACED, Advice.CHECK_OTHER_INSTANCE)
    assert account.lost(Reason.REPLACED) == account.given_up(Reason.REPLACED) == 1
    await account.logs_in_again(after_s=45)
    account.simulator.faults.end("replaced", BEACON)
    await account.told(Reason.REPLACED_AGAIN, State.REPLACED, Advice.CHECK_OTHER_INSTANCE)
    await account.holds()


@row("9")
async def test_the_third_stream_error_in_a_row_pauses(account: Row) -> None:
    await account.connects()
    for _ in range(2):
        account.simulator.faults.end("other", BEACON)
        await account.told(Reason.STREAM_ERROR, State.CONNECTING)
        await account.heals_in_place()
    assert account.lost(Reason.STREAM_ERROR) == 2
    account.simulator.faults.end("other", BEACON)
    await account.told(Reason.STREAM_ERROR_REPEATED, State.BACKING_OFF, Advice.READ_LOG)
    assert account.given_up(Reason.STREAM_ERROR_REPEATED) == 1
    await account.logs_in_again(after_s=QUARTER_S)


@row("10")
async def test_a_login_refused_without_a_reason_is_repeated_after_a_minute(account: Row) -> None:
    account.simulator.faults.end_login("generic", BEACON)
    await account.starts()
    await account.told(Reason.REFUSED_GENERIC, State.BACKING_OFF, Advice.READ_LOG)
    assert account.attempts("whatsapp") == account.given_up(Reason.REFUSED_GENERIC) == 1
    await account.logs_in_again(after_s=60)


@row("11")
async def test_a_session_that_whatsapp_does_not_know_is_given_up(account: Row) -> None:
    account.simulator.faults.end_login("logged_out", BEACON)
    await account.starts()
    await account.told(Reason.LOGGED_OUT, State.LOGGED_OUT, Advice.SCAN_QR)
    assert account.attempts("account") == account.given_up(Reason.LOGGED_OUT) == 1
    await account.holds()
    assert await account.session.device_jid() is None


@row("12")
async def test_a_phone_that_is_gone_is_not_asked_again(account: Row) -> None:
    account.simulator.faults.end_login("main_device_gone", BEACON)
    await account.starts()
    await account.told(Reason.MAIN_DEVICE_GONE, State.LOGGED_OUT, Advice.CHECK_PHONE)
    assert account.attempts("account") == account.given_up(Reason.MAIN_DEVICE_GONE) == 1
    await account.holds()


@row("13")
async def test_a_banned_account_makes_no_login(account: Row) -> None:
    account.simulator.faults.end_login("banned", BEACON)
    await account.starts()
    await account.told(Reason.ACCOUNT_BANNED, State.BANNED, Advice.CHECK_PHONE)
    assert account.attempts("account") == account.given_up(Reason.ACCOUNT_BANNED) == 1
    await account.holds()


@row("14")
async def test_a_temporary_ban_is_waited_out_and_a_fifth_more(account: Row) -> None:
    account.simulator.faults.end_login("temporary_ban_101", BEACON)
    await account.starts()
    await account.told(Reason.BAN_STRANGERS, State.BANNED, Advice.CHECK_PHONE)
    assert account.attempts("account") == account.given_up(Reason.BAN_STRANGERS) == 1
    await account.logs_in_again(after_s=1.2 * HOUR_S)


@row("14b")
async def test_a_ban_that_neonize_cannot_tell_is_waited_for_a_day(account: Row) -> None:
    account.simulator.faults.end_login("temporary_ban_105", BEACON)
    await account.starts()
    await account.told(Reason.BAN_UNKNOWN, State.BANNED, Advice.CHECK_PHONE)
    assert account.attempts("account") == account.given_up(Reason.BAN_UNKNOWN) == 1
    await account.logs_in_again(after_s=1.1 * DAY_S)


@row("15")
async def test_a_version_that_is_too_old_asks_for_an_upgrade(account: Row) -> None:
    account.simulator.faults.end_login("outdated", BEACON)
    await account.starts()
    await account.told(Reason.CLIENT_OUTDATED, State.OUTDATED, Advice.UPGRADE)
    assert account.attempts("whatsapp") == account.given_up(Reason.CLIENT_OUTDATED) == 1
    await account.logs_in_again(after_s=12 * HOUR_S)


@row("16")
async def test_a_bad_user_agent_holds(account: Row) -> None:
    account.simulator.faults.end_login("bad_user_agent", BEACON)
    await account.starts()
    await account.told(Reason.BAD_USER_AGENT, State.OUTDATED, Advice.UPGRADE)
    assert account.attempts("whatsapp") == account.given_up(Reason.BAD_USER_AGENT) == 1
    await account.holds()


@row("17")
async def test_a_refusal_meant_for_other_programs_ends_in_a_new_engine(account: Row) -> None:
    """No 413 or 414 comes through: whatsmeow calls what neonize has not set, and the engine crashes."""
    account.simulator.faults.end_login("cat_invalid", BEACON)
    await account.starts()
    await account.told(Reason.ENGINE_CRASHED, State.BACKING_OFF)
    assert account.attempts("engine") == account.given_up(Reason.ENGINE_CRASHED) == 1
    await account.logs_in_again(after_s=2)


@row("18")
async def test_a_refusal_that_neonize_cannot_tell_pauses(account: Row) -> None:
    account.simulator.faults.end_login("unmapped", BEACON)
    await account.starts()
    await account.told(Reason.REFUSED_UNKNOWN, State.BACKING_OFF, Advice.READ_LOG)
    assert account.attempts("whatsapp") == account.given_up(Reason.REFUSED_UNKNOWN) == 1
    await account.logs_in_again(after_s=QUARTER_S)


@row("19")
async def test_a_busy_server_is_left_to_whatsmeow(account: Row) -> None:
    await account.connects()
    logins = account.simulator.accounts[BEACON].logins
    account.simulator.faults.end_login("unavailable", BEACON)
    account.simulator.faults.cut(BEACON)
    await account.told(Reason.CONNECTION_LOST, State.CONNECTING)
    assert account.lost(Reason.CONNECTION_LOST) == 1
    await account.heals_in_place()
    assert account.simulator.accounts[BEACON].logins == logins + 1


@row("20")
async def test_an_experimental_refusal_pauses(account: Row) -> None:
    account.simulator.faults.end_login("experimental", BEACON)
    await account.starts()
    await account.told(Reason.REFUSED_EXPERIMENTAL, State.BACKING_OFF, Advice.READ_LOG)
    assert account.attempts("whatsapp") == account.given_up(Reason.REFUSED_EXPERIMENTAL) == 1
    await account.logs_in_again(after_s=QUARTER_S)


@row("21")
async def test_a_first_connection_that_fails_is_made_by_a_new_engine(account: Row) -> None:
    await account.starts()
    await account.told(Reason.LOGGING_IN, State.CONNECTING)
    account.simulator.faults.refuse()  # the probe went through, and neonize is only starting
    await account.told(Reason.PROXY_FAILED, State.BACKING_OFF, Advice.CHECK_NETWORK)
    assert account.attempts("network") == account.given_up(Reason.PROXY_FAILED) == 1
    account.simulator.faults.heal()
    await account.logs_in_again(after_s=2)


@row("22")
async def test_codes_that_nobody_scans_are_followed_by_new_ones(account: Row) -> None:
    account.session.remove()
    await account.starts()
    first = await account.told(Reason.QR_READY, State.PAIRING, Advice.SCAN_QR)
    await account.passes(90)
    await account.told(Reason.QR_SILENCE, State.UNPAIRED, Advice.SCAN_QR)
    assert account.given_up(Reason.QR_SILENCE) == 1
    assert account.metric("whatsapp_pairings_total", method="qr", result="expired") == 1
    second = await account.told(Reason.QR_READY, State.PAIRING, Advice.SCAN_QR)
    assert first.qr != second.qr
    assert len(account.engines) == 2


@row("deaf")
async def test_a_line_that_answers_pings_alone_is_asked_twice_and_made_anew(account: Row) -> None:
    await account.connects()
    await account.until(lambda _: account.asked("answered") == 1)  # a minute has passed in silence
    account.simulator.faults.deaf(BEACON)
    await account.passes(360)
    await account.passes(30)
    await account.waits(30)
    assert account.asked("unanswered") == 1
    assert account.supervisor.connected, "one lost answer is no proof"
    await account.passes(30)
    await account.told(Reason.DEAF, State.CONNECTING)
    assert account.asked("unanswered") == 2
    assert account.lost(Reason.DEAF) == account.given_up(Reason.DEAF) == 1
    await account.told(Reason.CONNECTED, State.CONNECTED)
    assert len(account.engines) == 2
    assert await account.sends()


@row("23")
async def test_an_event_loop_that_died_while_all_looked_well_is_noticed(account: Row) -> None:
    await account.connects()
    chat = account.simulator.register(ANN).pn
    for link in account.simulator.links():  # neonize cannot encode it, and stops telling anything (H1)
        link.post(Node("receipt", {"id": "3EB0", "from": chat, "type": "server-error", "t": "1"}))
    await account.told(Reason.EVENT_LOOP_DIED, State.CONNECTING)
    assert account.lost(Reason.EVENT_LOOP_DIED) == account.given_up(Reason.EVENT_LOOP_DIED) == 1
    await account.told(Reason.CONNECTED, State.CONNECTED)
    assert len(account.engines) == 2


@row("24")
async def test_a_login_that_is_never_answered_is_given_up(account: Row) -> None:
    account.simulator.faults.half_open(BEACON)
    await account.starts()
    await account.told(Reason.LOGGING_IN, State.CONNECTING)
    await account.simulator.wait_for(lambda: any(link.phone == BEACON for link in account.simulator.links()))
    await account.passes(60)
    await account.told(Reason.LOGIN_OVERDUE, State.BACKING_OFF, Advice.CHECK_NETWORK)
    assert account.attempts("network") == account.given_up(Reason.LOGIN_OVERDUE) == 1
    account.simulator.faults.heal()
    await account.logs_in_again(after_s=2)


@row("25")
async def test_the_fifth_crash_within_ten_minutes_holds(account: Row) -> None:
    await account.connects()
    for wait_s in (2, 4, 8, 16):
        account.crash_engine()
        await account.told(Reason.ENGINE_CRASHED, State.BACKING_OFF)
        await account.logs_in_again(after_s=wait_s)
    assert account.lost(Reason.ENGINE_CRASHED) == account.given_up(Reason.ENGINE_CRASHED) == 4
    account.crash_engine()
    await account.told(Reason.ENGINE_CRASH_LOOP, State.BACKING_OFF, Advice.READ_LOG)
    assert account.given_up(Reason.ENGINE_CRASH_LOOP) == 1
    await account.logs_in_again(after_s=QUARTER_S)


@row("2", of="dead_line")
async def test_a_line_that_has_gone_dead_sends_nothing_and_is_given_up_after_minutes(dead_line: Row) -> None:
    await dead_line.told(Reason.KEEPALIVE_LOST, State.DEGRADED, Advice.CHECK_NETWORK, within_s=PINGS_S)
    assert dead_line.lost(Reason.KEEPALIVE_LOST) == 1
    assert not await dead_line.sends()
    dead_line.simulator.faults.heal()
    await dead_line.passes(180)
    await dead_line.told(Reason.KEEPALIVE_DEAD, State.CONNECTING, Advice.CHECK_NETWORK)
    assert dead_line.given_up(Reason.KEEPALIVE_DEAD) == 1
    await dead_line.told(Reason.CONNECTED, State.CONNECTED)


@row("3", of="dead_line")
async def test_a_line_that_answers_again_is_used_again(dead_line: Row) -> None:
    await dead_line.told(Reason.KEEPALIVE_LOST, State.DEGRADED, Advice.CHECK_NETWORK, within_s=PINGS_S)
    engines = len(dead_line.engines)
    dead_line.simulator.faults.heal()
    await dead_line.told(Reason.KEEPALIVE_RESTORED, State.CONNECTED, within_s=PINGS_S)
    assert dead_line.lost(Reason.KEEPALIVE_LOST) == 1
    assert len(dead_line.engines) == engines
    assert await dead_line.sends()


def test_every_row_has_its_test() -> None:
    played = [
        parameter.id
        for test in globals().values()
        for mark in getattr(test, "pytestmark", [])
        if mark.name == "parametrize"
        for parameter in mark.args[1]
    ]
    assert sorted(played) == sorted({number for rule in TABLE for number in rule.rows})

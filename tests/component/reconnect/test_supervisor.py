"""Pairing, losses and verdicts as real neonize reports them, and what the supervisor makes of them."""

import sqlite3
from contextlib import closing

import pytest

from service.engine.protocol import AnyEvent, Heartbeat
from service.reconnect.reason import Reason
from service.reconnect.status import Advice, State
from tests.component.reconnect.conftest import Account
from tests.people import BEACON


async def test_a_phone_that_scans_the_qr_code_connects_the_account(account: Account) -> None:
    await account.pair()
    await account.until_state(State.CONNECTED)
    assert account.states() == [State.UNPAIRED, State.PAIRING, State.CONNECTING, State.CONNECTED]
    assert len(account.engines) == 2, "the engine that paired is not kept"
    assert account.metric("whatsapp_pairings_total", method="qr", result="paired") == 1
    assert await account.sends()


async def test_a_phone_that_types_the_code_connects_the_account(account: Account) -> None:
    await account.until_state(State.PAIRING)
    code = await account.supervisor.pair_phone(BEACON)
    shown = await account.until(lambda status: status.pair_code is not None)
    assert shown.pair_code == code
    await account.simulator.enter_code(code, BEACON)
    await account.until_state(State.CONNECTED)
    assert account.metric("whatsapp_pairings_total", method="code", result="paired") == 1
    assert await account.sends()


async def test_a_server_that_hangs_up_behind_the_515_does_not_end_the_pairing(account: Account) -> None:
    account.simulator.faults.close_behind_515 = True
    await account.pair()
    await account.until(lambda _: Reason.PAIRED in {status.reason for status in account.seen})
    await account.until(lambda status: status.reason != Reason.PAIRED or 20.0 in account.clock.sleeps)
    account.clock.advance(20)  # whatsmeow may or may not come back by itself: a race inside it
    await account.until_state(State.CONNECTED)
    assert await account.sends()


async def test_a_515_whose_reconnect_failed_is_noticed_although_nothing_is_said(account: Account) -> None:
    heard: list[AnyEvent] = []
    account.supervisor.listen(heard.append)
    await account.until_state(State.PAIRING)
    account.simulator.faults.refuse()  # open links stay, so only whatsmeow's one reconnect fails (row 5)
    await account.pair()
    await account.until_reason(Reason.PAIRED)
    # the first may come before whatsmeow has tried
    await account.until(lambda _: sum(isinstance(e, Heartbeat) and not e.connected for e in heard[-2:]) == 2)
    account.simulator.faults.heal()
    heard.clear()
    await account.until(lambda _: bool(heard))
    assert {type(event) for event in heard} == {Heartbeat}, "whatsmeow does not come back by itself"
    await account.passes(20)
    await account.until_state(State.CONNECTED)
    assert Reason.PAIRED_SILENCE in {status.reason for status in account.seen}
    assert await account.sends()


async def test_a_killed_engine_is_replaced(account: Account) -> None:
    await account.online()
    account.kill_engine()
    lost = await account.until_state(State.BACKING_OFF)
    assert (lost.reason, lost.attempt, lost.advice) == (Reason.ENGINE_KILLED, 1, Advice.NOTHING)
    await account.passes(2)
    await account.until_state(State.CONNECTED)
    assert account.metric("whatsapp_disconnects_total", reason="engine_killed") == 1
    assert await account.sends()


async def test_a_link_that_is_cut_heals_in_place(account: Account) -> None:
    await account.online()
    engines = len(account.engines)
    account.simulator.faults.cut()
    await account.until_reason(Reason.CONNECTION_LOST)
    await account.until_state(State.CONNECTED)
    assert len(account.engines) == engines
    assert await account.sends()


async def test_a_network_that_refuses_is_probed_until_it_is_back(account: Account) -> None:
    await account.online()
    account.simulator.faults.refuse()
    account.simulator.faults.cut()
    await account.until_state(State.CONNECTING)
    await account.passes(20)
    await account.until_reason(Reason.NO_RECONNECT)
    await account.passes(2)
    waiting = await account.until_reason(Reason.NETWORK_UNREACHABLE)
    assert (waiting.state, waiting.advice) == (State.BACKING_OFF, Advice.CHECK_NETWORK)
    assert waiting.next_attempt_at is not None
    attempts = account.metric("whatsapp_connect_attempts_total", result="network")
    account.simulator.faults.heal()
    await account.passes(5)
    await account.until_state(State.CONNECTED)
    assert account.metric("whatsapp_connect_attempts_total", result="network") == attempts, "no login in vain"
    assert await account.sends()


async def test_another_program_with_the_session_is_given_way_after_one_retry(account: Account) -> None:
    await account.online()
    account.simulator.faults.end("replaced")
    replaced = await account.until_state(State.REPLACED)
    assert (replaced.reason, replaced.advice) == (Reason.REPLACED, Advice.CHECK_OTHER_INSTANCE)
    await account.passes(45)
    await account.until_state(State.CONNECTED)
    account.simulator.faults.end("replaced")
    held = await account.until_reason(Reason.REPLACED_AGAIN)
    assert held.next_attempt_at is None


async def test_an_unlinked_device_waits_for_the_operator_and_can_be_linked_again(account: Account) -> None:
    await account.online()
    account.simulator.faults.end("device_removed")
    out = await account.until_state(State.LOGGED_OUT)
    assert (out.reason, out.advice) == (Reason.UNLINKED, Advice.SCAN_QR)
    await account.supervisor.restart()
    await account.pair()
    await account.until_state(State.CONNECTED)
    assert await account.sends()


async def test_a_forgotten_device_leaves_the_known_contacts_in_the_session(account: Account) -> None:
    await account.online()
    assert await account.sends()
    await account.supervisor.stop()
    assert await account.session.device_jid() is not None
    await account.session.forget_device()
    assert await account.session.device_jid() is None
    with closing(sqlite3.connect(account.session.path)) as database:
        for table, left in {"whatsmeow_sessions": 0, "whatsmeow_pre_keys": 0, "whatsmeow_lid_map": 1}.items():
            (rows,) = database.execute(f"SELECT count(*) > 0 FROM {table}").fetchone()
            assert rows == left, table


@pytest.mark.parametrize(
    ("ending", "state", "reason"),
    [
        ("generic", State.BACKING_OFF, Reason.REFUSED_GENERIC),
        ("logged_out", State.LOGGED_OUT, Reason.LOGGED_OUT),
        ("banned", State.BANNED, Reason.ACCOUNT_BANNED),
        ("temporary_ban_101", State.BANNED, Reason.BAN_STRANGERS),
        ("temporary_ban_105", State.BANNED, Reason.BAN_UNKNOWN),
        ("outdated", State.OUTDATED, Reason.CLIENT_OUTDATED),
        ("unmapped", State.BACKING_OFF, Reason.REFUSED_UNKNOWN),
    ],
)
async def test_a_refused_login_is_understood(
    account: Account, ending: str, state: State, reason: Reason
) -> None:
    await account.online()
    account.simulator.faults.end_login(ending, BEACON)
    await account.supervisor.restart()
    refused = await account.until(lambda status: status.reason == reason)
    assert refused.state is state
    assert not account.supervisor.connected


async def test_without_a_way_to_whatsapp_it_stays_up_and_says_so(account: Account) -> None:
    account.simulator.faults.refuse()
    await account.supervisor.restart()
    status = await account.until_reason(Reason.NETWORK_UNREACHABLE)
    assert status.state is State.BACKING_OFF
    account.simulator.faults.heal()
    await account.passes(5)
    await account.until_state(State.PAIRING)


async def test_an_operator_who_logs_out_unlinks_the_device_and_forgets_it(account: Account) -> None:
    await account.online()
    await account.supervisor.logout()
    assert (account.status.state, account.status.reason) == (State.LOGGED_OUT, Reason.LOGOUT_ASKED)
    await account.engines[-1].wait()
    assert await account.session.device_jid() is None
    await account.supervisor.restart()
    await account.pair()
    await account.until_state(State.CONNECTED)


async def test_an_operator_who_clears_the_session_links_the_phone_anew(account: Account) -> None:
    await account.online()
    await account.supervisor.clear()
    assert await account.session.device_jid() is None
    await account.pair()
    await account.until_state(State.CONNECTED)
    assert await account.sends()

"""Each fault as the real client sees it."""

import asyncio

import pytest

from service.engine.protocol import (
    AnyEvent,
    ClientOutdated,
    Connected,
    ConnectEnded,
    ConnectFailure,
    Disconnected,
    LoggedOut,
    QrCode,
    Refused,
    Sent,
    StreamError,
    StreamReplaced,
    TemporaryBan,
)
from service.simulator.endings import temporary_ban
from service.simulator.server import Simulator
from tests.component.simulator.person import Person
from tests.people import ANN, BEN


async def test_a_cut_link_is_noticed_and_made_again(simulator: Simulator, ann: Person) -> None:
    async with ann.online():
        assert simulator.faults.cut(BEN) == 0
        assert simulator.faults.cut(ANN) == 1
        await ann.has(Disconnected)
        await ann.has(Connected, 2)
        assert simulator.faults.cut() == 1
        await ann.has(Connected, 3)


async def test_nobody_gets_in_while_connections_are_refused(simulator: Simulator, ann: Person) -> None:
    async with ann.online():
        pass
    simulator.faults.refuse()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", int(simulator.proxy.rpartition(":")[2]))
    async with ann.process():
        assert "connection refused" in (await ann.has(ConnectEnded)).text
    simulator.faults.heal()
    async with ann.process():
        await ann.has(Connected)


async def test_an_open_link_survives_while_new_ones_are_refused(
    simulator: Simulator, ann: Person, ben: Person
) -> None:
    async with ann.online(), ben.online():
        simulator.faults.refuse()
        await ann.send(ben, "still here")
        await ben.until(lambda: ben.inbox == ["still here"])


async def test_a_half_open_link_says_nothing_until_it_is_healed(
    simulator: Simulator, ann: Person, ben: Person
) -> None:
    async with ann.online(), ben.online():
        await ann.send(ben, "before")
        simulator.faults.half_open(ANN)
        stuck = asyncio.create_task(ann.try_to_send(ben, "into the void"))
        await ben.send(ann, "can you hear me")
        await ben.until(lambda: simulator.accounts[BEN].sent == 1)
        assert (simulator.accounts[ANN].sent, ann.inbox, stuck.done()) == (1, [], False)
        simulator.faults.heal()
        assert isinstance(await stuck, Sent)
        await ann.until(lambda: ann.inbox == ["can you hear me"])


async def test_a_login_into_a_half_open_server_neither_succeeds_nor_fails(
    simulator: Simulator, ann: Person
) -> None:
    async with ann.online():
        pass
    simulator.faults.half_open(ANN)
    async with ann.process():
        await ann.until(lambda: any(link.phone == ANN for link in simulator.links()))
        assert simulator.accounts[ANN].logins == 1
        assert ann.seen(ConnectEnded) == []
        simulator.faults.heal()
        await ann.has(Connected)


async def test_what_is_delayed_comes_late_and_in_order(
    simulator: Simulator, ann: Person, ben: Person
) -> None:
    async with ann.online(), ben.online():
        simulator.faults.delay(0.2, BEN)
        for number in range(10):
            await ann.send(ben, str(number))
        assert simulator.accounts[BEN].received == 0
        await ben.until(lambda: ben.inbox == [str(number) for number in range(10)])


async def test_a_send_whose_ack_was_swallowed_is_repeated_after_a_cut_and_delivered_once(
    simulator: Simulator, ann: Person, ben: Person
) -> None:
    async with ann.online(), ben.online():
        simulator.faults.swallow_acks(ANN, times=1)
        waiting = asyncio.create_task(ann.try_to_send(ben, "once"))
        await ben.until(lambda: ben.inbox == ["once"])
        assert not waiting.done()
        simulator.faults.cut(ANN)
        assert isinstance(await waiting, Sent)
        assert (simulator.accounts[ANN].sent, simulator.accounts[ANN].repeated) == (1, 1)
        await ann.has(Connected, 2)
        await ann.send(ben, "twice")
        await ben.until(lambda: ben.inbox == ["once", "twice"])


async def test_a_swallowed_message_reaches_nobody_until_it_is_repeated(
    simulator: Simulator, ann: Person, ben: Person
) -> None:
    async with ann.online(), ben.online():
        simulator.faults.swallow_messages(ANN, times=1)
        waiting = asyncio.create_task(ann.try_to_send(ben, "lost and found"))
        await ann.until(lambda: simulator.accounts[ANN].swallowed == 1)
        assert (ben.inbox, waiting.done()) == ([], False)
        simulator.faults.cut(ANN)
        assert isinstance(await waiting, Sent)
        await ben.until(lambda: ben.inbox == ["lost and found"])


@pytest.mark.parametrize("code", [429, 463, 479])
async def test_a_refused_message_is_an_error_with_its_code(
    simulator: Simulator, ann: Person, code: int
) -> None:
    simulator.register(BEN)
    async with ann.online():
        simulator.faults.nack(code, ANN)
        answer = await ann.try_to_send(BEN, "no")
        assert isinstance(answer, Refused)
        assert f"server returned error {code}" in answer.text
        await ann.send(BEN, "yes")


async def test_a_client_that_is_hung_up_on_behind_the_515_is_paired(
    simulator: Simulator, ann: Person
) -> None:
    simulator.faults.close_behind_515 = True
    async with ann.process():
        await simulator.scan((await ann.has(QrCode)).code, ANN)
    async with ann.process():
        await ann.has(Connected)


LOGIN_ENDINGS: list[tuple[str, AnyEvent]] = [
    ("generic", ConnectFailure(reason=400, text="")),
    ("logged_out", LoggedOut(on_connect=True, reason=401)),
    ("main_device_gone", LoggedOut(on_connect=True, reason=403)),
    ("banned", LoggedOut(on_connect=True, reason=406)),
    ("temporary_ban_101", TemporaryBan(code=101, expire_s=3600)),
    ("outdated", ClientOutdated()),
    ("bad_user_agent", ConnectFailure(reason=409, text="")),
    ("experimental", ConnectFailure(reason=501, text="")),
]
LINK_ENDINGS: list[tuple[str, AnyEvent]] = [
    ("device_removed", LoggedOut(on_connect=False, reason=401)),
    ("replaced", StreamReplaced()),
    ("other", StreamError(code="599")),
    ("malformed", StreamError(code="")),
    ("unmapped", ConnectEnded(text="ConnectFailure.Reason")),
    ("temporary_ban_105", ConnectEnded(text="TemporaryBan.Code")),
]


@pytest.mark.parametrize(("name", "expected"), LOGIN_ENDINGS, ids=[name for name, _ in LOGIN_ENDINGS])
async def test_a_login_ends_as_scripted(
    simulator: Simulator, ann: Person, name: str, expected: AnyEvent
) -> None:
    async with ann.online():
        simulator.faults.end_login(name, ANN)
        simulator.faults.cut(ANN)
        _matches(await ann.has(type(expected)), expected)
        assert simulator.accounts[ANN].logins == 1


@pytest.mark.parametrize(("name", "expected"), LINK_ENDINGS, ids=[name for name, _ in LINK_ENDINGS])
async def test_an_open_link_ends_as_scripted(
    simulator: Simulator, ann: Person, name: str, expected: AnyEvent
) -> None:
    async with ann.online():
        assert simulator.faults.end(name, ANN) == 1
        _matches(await ann.has(type(expected)), expected)


@pytest.mark.parametrize("name", ["restart", "restarting_soon", "internal_error", "unavailable"])
async def test_an_ending_that_is_not_for_good_is_followed_by_a_new_login(
    simulator: Simulator, ann: Person, name: str
) -> None:
    async with ann.online():
        simulator.faults.end(name)
        await ann.has(Connected, 2)
        simulator.faults.end_login(temporary_ban(code=104, expire_s=90))
        simulator.faults.cut()
        assert await ann.has(TemporaryBan) == TemporaryBan(code=104, expire_s=90)


async def test_a_device_that_was_removed_is_refused_at_its_next_login(
    simulator: Simulator, ann: Person
) -> None:
    async with ann.online():
        simulator.faults.end_login("logged_out", times=None)
        simulator.faults.cut()
        await ann.has(LoggedOut)
    simulator.faults.heal()
    assert simulator.accounts[ANN].devices == {}
    async with ann.process():
        await ann.has(QrCode)


def _matches(event: AnyEvent, expected: AnyEvent) -> None:
    if isinstance(expected, ConnectEnded):
        assert isinstance(event, ConnectEnded)
        assert expected.text in event.text
    elif isinstance(expected, ConnectFailure):
        assert isinstance(event, ConnectFailure)
        assert event.reason == expected.reason
    else:
        assert event == expected

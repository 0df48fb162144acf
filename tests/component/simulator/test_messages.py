"""Messages between two real clients: everything arrives, once, in order, and is confirmed."""

import sqlite3
from contextlib import closing

from service.engine.protocol import (
    OfflineSynced,
    Receipt,
    ReceiptKind,
    Refused,
    StreamReplaced,
    Undecryptable,
)
from service.simulator.server import Simulator
from tests.chaos.takeover import overlap_s
from tests.component.simulator.person import Person
from tests.people import ANN, BEN, CLEO


async def test_messages_go_both_ways_and_are_confirmed(
    simulator: Simulator, ann: Person, ben: Person
) -> None:
    async with ann.online(), ben.online():
        sent = [await ann.send(ben, f"to Ben {number}") for number in range(10)]
        await ben.send(ann, "to Ann")
        await ben.until(lambda: ben.inbox == [f"to Ben {number}" for number in range(10)])
        await ann.until(lambda: ann.inbox == ["to Ann"])
        await ann.until(lambda: sorted(ann.confirmed) == sorted(sent))
        assert {receipt.receipt for receipt in ann.seen(Receipt)} == {ReceiptKind.INACTIVE}
        assert (simulator.accounts[ANN].sent, simulator.accounts[ANN].delivered) == (10, 10)
        assert (simulator.accounts[BEN].received, simulator.accounts[BEN].sent) == (10, 1)


async def test_a_client_in_use_confirms_with_two_ticks(
    simulator: Simulator, ann: Person, ben: Person
) -> None:
    async with ben.online():
        pass
    with closing(sqlite3.connect(ben.session.path)) as database:
        database.execute("UPDATE whatsmeow_device SET push_name = 'Ben'")  # a phone would have told it
        database.commit()
    async with ann.online(), ben.online() as engine:
        await engine.presence(available=True)
        await simulator.wait_for(lambda: simulator.accounts[BEN].devices[1].available)
        await ann.send(ben, "hello")
        assert (await ann.has(Receipt)).receipt is ReceiptKind.DELIVERED


async def test_who_was_away_gets_everything_once_and_in_order(
    simulator: Simulator, ann: Person, ben: Person
) -> None:
    async with ann.online():
        async with ben.online():
            await ann.send(ben, "before")
            await ann.until(lambda: simulator.accounts[ANN].delivered == 1)
        await ann.until(lambda: not simulator.accounts[BEN].online)
        away = [f"while away {number}" for number in range(30)]
        for text in away:
            await ann.send(ben, text)
        assert simulator.accounts[BEN].waiting == 30
        async with ben.online():
            assert (await ben.has(OfflineSynced)).count == 30
            await ben.until(lambda: len(ben.inbox) == 30)
            await ann.until(lambda: simulator.accounts[ANN].delivered == 31)
        async with ben.online():
            assert (await ben.has(OfflineSynced)).count == 0
            assert ben.inbox == []
    assert simulator.accounts[BEN].received == 31


async def test_receipts_wait_for_the_sender(simulator: Simulator, ann: Person, ben: Person) -> None:
    async with ben.online():
        async with ann.online():
            simulator.faults.half_open(BEN)
            sent = await ann.send(ben, "read me later")
        await ben.until(lambda: not simulator.accounts[ANN].online)
        simulator.faults.heal()
        await ben.until(lambda: simulator.accounts[ANN].delivered == 1)
        async with ann.online():
            await ann.until(lambda: ann.confirmed == [sent])


async def test_what_was_on_the_wire_when_the_link_broke_is_delivered_once(
    simulator: Simulator, ann: Person, ben: Person
) -> None:
    async with ann.online(), ben.online():
        await ann.send(ben, "warm-up")
        texts = [f"message {number}" for number in range(60)]
        for number, text in enumerate(texts):
            if number % 20 == 10:
                simulator.faults.cut(BEN)
            await ann.send(ben, text)
        await ben.until(lambda: simulator.accounts[ANN].delivered == 61)
        await ben.until(lambda: len(ben.inbox) >= 61)
        assert ben.inbox == ["warm-up", *texts]


async def test_a_client_that_lost_its_ratchets_asks_again_and_reads_everything(
    simulator: Simulator, ann: Person, ben: Person
) -> None:
    async with ann.online():
        async with ben.online():
            await ann.send(ben, "before")
            await ann.until(lambda: simulator.accounts[ANN].delivered == 1)
        with closing(sqlite3.connect(ben.session.path)) as database:
            database.execute("DELETE FROM whatsmeow_sessions")
            database.commit()
        async with ben.online():
            await ann.send(ben, "after")
            await ben.has(Undecryptable)
            await ben.until(lambda: ben.inbox == ["after"])
            await ann.until(lambda: simulator.accounts[ANN].delivered == 2)
    assert simulator.accounts[BEN].retries >= 1
    assert simulator.accounts[ANN].resent >= 1


async def test_a_second_login_of_the_same_device_replaces_the_first(
    simulator: Simulator, ann: Person, ben: Person
) -> None:
    async with ann.online():
        pass
    twin = Person(simulator, ANN, ann.session.path.parent)
    async with ann.online(), ben.online(), twin.online():
        await ann.has(StreamReplaced)
        stays = simulator.accounts[ANN].stays
        await ann.until(lambda: stays[-2].ended)
        assert overlap_s(stays) > 0
        await ben.send(ann, "to whoever is there")
        await twin.until(lambda: twin.inbox == ["to whoever is there"])
        assert ann.inbox == []


async def test_a_number_that_is_not_on_whatsapp_is_refused(simulator: Simulator, ann: Person) -> None:
    async with ann.online():
        answer = await ann.try_to_send(CLEO, "anybody there?")
        assert isinstance(answer, Refused)
        assert "no LID found" in answer.text


async def test_a_number_without_any_device_takes_a_message_and_never_confirms(
    simulator: Simulator, ann: Person
) -> None:
    silent = simulator.register(CLEO)
    async with ann.online():
        await ann.send(CLEO, "anybody there?")
        assert (simulator.accounts[ANN].sent, silent.received) == (1, 0)

"""A group of real clients: everybody reads what one of them writes, and each says so."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from service.engine.protocol import MessageReceived, Receipt, ReceiptKind, Refused, Undecryptable
from service.simulator.server import Simulator
from tests.component.simulator.person import Person
from tests.people import ANN, BEN, CLEO


@pytest.fixture
def cleo(simulator: Simulator, tmp_path: Path) -> Person:
    return Person(simulator, CLEO, tmp_path)


@pytest.fixture
async def group(simulator: Simulator, ann: Person, ben: Person, cleo: Person) -> AsyncIterator[str]:
    """All three are online, and in one group; the group's JID."""
    async with AsyncExitStack() as stack:
        for person in (ann, ben, cleo):
            await stack.enter_async_context(person.online())
        yield simulator.create_group("Tides", ANN, BEN, CLEO)


async def test_everybody_reads_what_one_of_them_writes(
    ann: Person, ben: Person, cleo: Person, group: str
) -> None:
    sent = await ann.send(group, "high water at eight")
    for reader in (ben, cleo):
        received = await reader.has(MessageReceived)
        assert (received.id, received.text) == (sent, "high water at eight")
        assert (received.chat, received.is_group, received.sender_pn) == (
            group,
            True,
            f"{ANN}@s.whatsapp.net",
        )
    await ben.send(group, "low water at two")
    await ann.until(lambda: "low water at two" in ann.inbox)
    await cleo.until(lambda: "low water at two" in cleo.inbox)


async def test_each_member_confirms_for_itself(
    simulator: Simulator, ann: Person, ben: Person, cleo: Person, group: str
) -> None:
    sent = await ann.send(group, "high water at eight")
    await ann.has(Receipt, 2)
    receipts = ann.seen(Receipt)
    assert {receipt.sender for receipt in receipts} == {
        str(simulator.accounts[member.phone].lid) for member in (ben, cleo)
    }
    for receipt in receipts:
        assert (receipt.chat, receipt.message_ids) == (group, (sent,))
        assert receipt.receipt is ReceiptKind.INACTIVE
    assert (simulator.accounts[ANN].sent, simulator.accounts[ANN].delivered) == (1, 1)


async def test_who_was_away_gets_it_and_confirms_later(
    simulator: Simulator, ann: Person, ben: Person, tmp_path: Path
) -> None:
    async with ann.online():
        async with ben.online():
            group = simulator.create_group("Tides", ANN, BEN)
        await ann.until(lambda: not simulator.accounts[BEN].online)
        texts = [f"tide {number}" for number in range(5)]
        sent = [await ann.send(group, text) for text in texts]
        async with ben.online():
            await ben.until(lambda: ben.inbox == texts)
            await ann.until(lambda: sorted(ann.confirmed) == sorted(sent))


async def test_a_sender_that_lost_its_ratchets_is_read_by_the_group(
    simulator: Simulator, ann: Person, ben: Person
) -> None:
    async with ben.online():
        async with ann.online():
            group = simulator.create_group("Tides", ANN, BEN)
            await ann.send(group, "before")
            await ben.until(lambda: ben.inbox == ["before"])
        ann.lose_ratchets()
        async with ann.online():
            await ann.send(group, "after")
            await ben.until(lambda: ben.inbox == ["before", "after"])


async def test_a_member_that_lost_its_ratchets_asks_again_and_reads_everything(
    simulator: Simulator, ann: Person, ben: Person
) -> None:
    async with ann.online():
        async with ben.online():
            group = simulator.create_group("Tides", ANN, BEN)
            await ann.send(group, "before")
            await ben.until(lambda: ben.inbox == ["before"])
        ben.lose_ratchets()
        async with ben.online():
            sent = await ann.send(group, "after")
            await ben.has(Undecryptable)
            await ben.until(lambda: ben.inbox == ["after"])
            await ann.until(lambda: ann.confirmed.count(sent) >= 2)  # the request, then the receipt
    assert simulator.accounts[ANN].resent >= 1


async def test_a_stranger_may_not_write_into_a_group(simulator: Simulator, ann: Person, ben: Person) -> None:
    async with ben.online():
        group = simulator.create_group("Tides", ANN, CLEO)
        answer = await ben.try_to_send(group, "let me in")
        assert isinstance(answer, Refused)
        assert "you're not participating in that group" in answer.text
        answer = await ben.try_to_send("120363999999999999@g.us", "anybody there?")
        assert isinstance(answer, Refused)
        assert "that group does not exist" in answer.text

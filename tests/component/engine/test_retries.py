"""Who sends again when a recipient cannot read a message: whatsmeow while it remembers, else we."""

import sqlite3
from contextlib import closing

import pytest

from service.engine.protocol import MessageReceived, Receipt, ReceiptKind
from service.engine.session import SessionFile
from tests.component.engine.world import World
from tests.people import ANN, BEN

pytestmark = pytest.mark.asyncio(loop_scope="module")


def lose_ratchets(session: SessionFile) -> None:
    with closing(sqlite3.connect(session.path)) as database:
        database.execute("DELETE FROM whatsmeow_sessions")
        database.commit()


def asks_again(receipt: Receipt) -> bool:
    return receipt.receipt is ReceiptKind.RETRY


async def test_whatsmeow_sends_again_what_this_engine_sent(world: World) -> None:
    ann, ben = await world.online(ANN), await world.online(BEN)
    await ann.sent(ben.jid, "before")
    await ben.told(MessageReceived)
    await world.leave(ben)
    lose_ratchets(ben.session)
    sent = await ann.sent(ben.jid, "can you read this?")

    ben = await world.online(BEN)
    receipt = await ann.told(Receipt, asks_again)
    assert receipt.message_ids == (sent.message_id,)
    assert receipt.resent_by_engine
    assert (await ben.told(MessageReceived)).text == "can you read this?"
    await world.leave(ann)
    await world.leave(ben)


async def test_nobody_sends_again_what_an_earlier_engine_sent(world: World) -> None:
    ann, ben = await world.online(ANN), await world.online(BEN)
    await world.leave(ben)
    lose_ratchets(ben.session)
    sent = await ann.sent(ben.jid, "can you read this?")
    await world.leave(ann)
    resent = world.simulator.accounts[ANN].resent

    ann, ben = await world.online(ANN), await world.online(BEN)
    receipt = await ann.told(Receipt, asks_again)
    assert receipt.message_ids == (sent.message_id,)
    assert not receipt.resent_by_engine
    assert world.simulator.accounts[ANN].resent == resent
    await world.leave(ann)
    await world.leave(ben)

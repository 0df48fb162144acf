"""Who sends again when a recipient cannot read a message: whatsmeow while it remembers, else we."""

import sqlite3
from contextlib import closing

import pytest

from service.engine.protocol import MessageReceived, Receipt, ReceiptKind
from service.engine.session import SessionFile
from tests.component.engine.world import Engine, World
from tests.people import ANN, BEN

pytestmark = pytest.mark.asyncio(loop_scope="module")


def lose_ratchets(session: SessionFile) -> None:
    with closing(sqlite3.connect(session.path)) as database:
        database.execute("DELETE FROM whatsmeow_sessions")
        database.commit()


async def knowing_each_other(world: World) -> tuple[Engine, Engine]:
    """Ann and Ben, past the first messages, which bring a key along and so can be read without a ratchet."""
    ann, ben = await world.online(ANN), await world.online(BEN)
    await has_written(ann, ben)
    await has_written(ben, ann)
    return ann, ben


async def has_written(one: Engine, other: Engine) -> None:
    sent = await one.sent(other.jid, "before")
    await other.told(MessageReceived, lambda message: message.id == sent.message_id)


def asks_again(receipt: Receipt) -> bool:
    return receipt.receipt is ReceiptKind.RETRY


async def test_whatsmeow_sends_again_in_turn_what_this_engine_sent(world: World) -> None:
    ann, ben = await knowing_each_other(world)
    await world.leave(ben)
    lose_ratchets(ben.session)
    sent = await ann.sent(ben.jid, "can you read this?")

    ben = await world.online(BEN)
    receipt = await ann.told(Receipt, asks_again)
    assert receipt.message_ids == (sent.message_id,)
    assert receipt.resent_by_engine
    assert (await ben.told(MessageReceived)).text == "can you read this?"
    await ann.has_counted(1, "turns_total", use="resend")
    assert ben.counted("undecryptable_total", reason="asked_again")
    await world.leave(ann)
    await world.leave(ben)


async def test_nobody_sends_again_what_an_earlier_engine_sent(world: World) -> None:
    ann, ben = await knowing_each_other(world)
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


async def test_what_whatsmeow_fails_to_send_again_somebody_else_is_told_to(world: World) -> None:
    ann, ben = await knowing_each_other(world)
    await world.leave(ben)
    lose_ratchets(ben.session)
    sent = await ann.sent(ben.jid, "can you read this?")
    lose_ratchets(ann.session)
    world.simulator.faults.refuse_queries(503, ANN)  # so that no new session can be begun

    ben = await world.online(BEN)
    receipt = await ann.told(Receipt, lambda receipt: asks_again(receipt) and not receipt.resent_by_engine)
    assert receipt.message_ids == (sent.message_id,)
    await world.leave(ann)
    await world.leave(ben)

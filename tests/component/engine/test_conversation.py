"""Two real engines and the simulator: pairing, sending, receipts, and what is refused."""

import asyncio
import os

import pytest
from structlog.testing import capture_logs

from service.engine.protocol import (
    Connected,
    Heartbeat,
    MessageReceived,
    OfflineSynced,
    Paired,
    QrCode,
    Receipt,
    ReceiptKind,
    Refusal,
    Refused,
    Sent,
)
from service.engine.sends import AT_HAND
from service.errors import EngineRefused
from tests.component.engine.world import World
from tests.people import ANN, BEACON, BEN, CLEO

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_phone_scans_the_code_and_the_engine_is_paired_and_connected(world: World) -> None:
    engine = await world.started(ANN)
    await engine.connect()
    code = await engine.told(QrCode)
    await world.simulator.scan(code.code, ANN)

    paired, connected = await engine.told(Paired), await engine.told(Connected)
    assert paired.jid == connected.jid == await engine.session.device_jid()
    assert connected.jid.startswith(f"{ANN}:")
    beat = await engine.told(Heartbeat, lambda beat: beat.connected and beat.logged_in)
    assert beat.resident_bytes > 10_000_000
    assert beat.threads > 5
    assert beat.open_fds > 5
    assert beat.unraisable == 0
    await world.leave(engine)


async def test_a_phone_is_given_a_code_and_the_engine_is_paired(world: World) -> None:
    engine = await world.started(CLEO)
    with pytest.raises(EngineRefused, match="not connected yet"):
        await engine.process.pair_phone(CLEO)
    await engine.connect()
    await engine.told(QrCode)
    code = await engine.process.pair_phone(CLEO)
    await world.simulator.enter_code(code, CLEO)

    assert (await engine.told(Connected)).jid.startswith(f"{CLEO}:")
    await world.leave(engine)


async def test_a_text_arrives_and_its_receipt_comes_back(world: World) -> None:
    ann, ben = await world.online(ANN), await world.online(BEN)
    with capture_logs() as logs:
        sent = await ann.sent(ben.jid, "see @12025550199 at eight, 🎈")

        received = await ben.told(MessageReceived, lambda message: message.id == sent.message_id)
        assert received.text == "see @12025550199 at eight, 🎈"
        assert received.sender_pn == ann.jid
        assert (received.is_group, received.from_me) == (False, False)
        assert received.chat == received.sender
        assert ":" not in received.sender
        receipt = await ann.told(Receipt, lambda receipt: sent.message_id in receipt.message_ids)
        assert receipt.receipt in {ReceiptKind.DELIVERED, ReceiptKind.INACTIVE}
        assert not receipt.from_me
        assert abs(received.timestamp - sent.timestamp) < 60
        assert abs(receipt.timestamp - sent.timestamp) < 60
        assert 0 < sent.took_s < 60

        answer = await ben.sent(received.chat, "by all means")  # a LID, as the bot answers
        assert (await ann.told(MessageReceived, lambda m: m.id == answer.message_id)).sender_pn == ben.jid
        await world.leave(ann)
        await world.leave(ben)
    assert not [number for number in (ANN, BEN, "12025550199") if number in str(logs)]


async def test_what_was_sent_meanwhile_is_there_after_the_next_start(world: World) -> None:
    ann, ben = await world.online(ANN), await world.online(BEN)
    await ann.sent(ben.jid, "are you there?")
    await world.leave(ben)
    ids = [(await ann.sent(ben.jid, f"number {n}")).message_id for n in range(3)]

    ben = await world.online(BEN)
    await ben.told(MessageReceived, lambda message: message.id == ids[-1])
    await ben.told(OfflineSynced)
    order = [e.id for e in ben.events if isinstance(e, MessageReceived)]
    assert [i for i in order if i in ids] == ids
    await world.leave(ann)
    await world.leave(ben)


async def test_a_send_behind_one_that_failed_is_not_begun(world: World) -> None:
    ann = await world.online(ANN)
    ben = world.simulator.register(BEN).pn
    before = world.simulator.accounts[ANN].sent
    world.simulator.faults.nack(479, ANN)

    replies = await asyncio.gather(
        ann.send(str(ben), "first", token=101),
        ann.send(str(ben), "second", token=102, behind=101),
        ann.send(str(ben), "third", token=103, behind=102),
        ann.send(str(ben), "of another chat", token=104),
        ann.send(str(ben), "behind it", token=105, behind=104),
        ann.send(str(ben), "behind one of another life", token=106, behind=7),
    )
    first, second, third, other, behind, stranger = replies
    assert isinstance(first, Refused)
    assert (first.refusal, first.text) == (Refusal.FAILED, "server returned error 479")
    for skipped in (second, third, stranger):
        assert isinstance(skipped, Refused)
        assert skipped.refusal is Refusal.SKIPPED
    assert isinstance(other, Sent)
    assert isinstance(behind, Sent)
    assert world.simulator.accounts[ANN].sent == before + 2
    await world.leave(ann)


async def test_what_neonize_refuses_is_told_without_the_number(world: World) -> None:
    ann = await world.online(ANN)
    reply = await ann.send("12025550198@s.whatsapp.net", "to nobody")

    assert isinstance(reply, Refused)
    assert reply.refusal is Refusal.FAILED
    assert reply.text == "no LID found for #@s.whatsapp.net from server"
    await world.leave(ann)


async def test_what_cannot_be_begun_is_refused_at_once(world: World) -> None:
    ann = await world.started(ANN)
    early = await ann.send(f"{BEN}@s.whatsapp.net", "too early")
    assert isinstance(early, Refused)
    assert early.refusal is Refusal.NOT_CONNECTED

    await ann.online()
    with pytest.raises(EngineRefused, match="connects once"):
        await ann.connect()

    world.simulator.faults.swallow_acks(ANN)
    secret = os.urandom(32)
    sends = [
        asyncio.create_task(ann.send(f"{BEN}@s.whatsapp.net", "waits", secret=secret))
        for _ in range(AT_HAND + 1)
    ]
    (busy,), _ = await asyncio.wait(sends, return_when=asyncio.FIRST_COMPLETED)
    refused = busy.result()
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.BUSY
    await ann.process.kill()
    world.simulator.faults.heal()
    await asyncio.gather(*sends, return_exceptions=True)


async def test_after_a_logout_nothing_but_a_mark_is_left(world: World) -> None:
    engine = await world.online(BEACON)
    await engine.process.logout()

    assert await engine.session.device_jid() is None
    assert not world.simulator.accounts[BEACON].devices
    await world.leave(engine)
    engine.session.remove()
    (mark,) = world.folder.glob(f"{BEACON}*")
    assert mark.suffix == ".cleared", "so that no backup is put back in its place"
    assert not mark.read_bytes()

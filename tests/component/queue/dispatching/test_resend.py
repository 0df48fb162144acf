"""A recipient's device that could not read a message asks for it again, and gets it: once."""

from service.engine.protocol import ReceiptKind
from service.queue.model import Message, State
from tests.component.queue.dispatching.harness import Queue
from tests.component.queue.support import to, until
from tests.people import ANN


async def sent(queue: Queue) -> tuple[Message, str]:
    """A message that went out, and its WhatsApp id."""
    queue.engine.acknowledges = True
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN, "important"))
    await queue.state(kept, State.SENT)
    return kept, queue.engine.secrets[kept.secret]


async def heard_of(queue: Queue, kind: ReceiptKind, times: int) -> None:
    await until(lambda: queue.value("receipts_total", kind=kind.value) == times, "the receipt is counted")
    await queue.dispatcher._receipts.drained()
    await queue.settle_down()


async def test_what_could_not_be_read_is_sent_once_more_with_a_new_secret(queue: Queue) -> None:
    kept, whatsapp_id = await sent(queue)
    queue.receipt([whatsapp_id], ReceiptKind.RETRY)
    again = await queue.engine.nth(2)
    assert (again.text, again.chat) == ("important", kept.chat)
    assert again.secret != kept.secret
    await queue.state(kept, State.SENT)
    assert queue.value("resends_total") == 1

    queue.receipt([queue.engine.secrets[again.secret]], ReceiptKind.RETRY)
    await heard_of(queue, ReceiptKind.RETRY, 2)
    assert len(queue.engine.sends) == 2, "one second copy, and no third"
    assert queue.value("resends_total") == 1
    queue.receipt([queue.engine.secrets[again.secret]])
    await queue.state(kept, State.DELIVERED)


async def test_what_whatsmeow_sends_again_by_itself_is_not_sent_twice(queue: Queue) -> None:
    _, whatsapp_id = await sent(queue)
    queue.receipt([whatsapp_id], ReceiptKind.RETRY, resent_by_engine=True)
    await heard_of(queue, ReceiptKind.RETRY, 1)
    assert len(queue.engine.sends) == 1


async def test_our_own_other_device_asking_gets_nothing_to_the_recipient_again(queue: Queue) -> None:
    _, whatsapp_id = await sent(queue)
    queue.receipt([whatsapp_id], ReceiptKind.RETRY, from_me=True)
    await heard_of(queue, ReceiptKind.RETRY, 1)
    assert len(queue.engine.sends) == 1


async def test_a_group_does_not_get_a_second_copy_for_one_who_could_not_read(queue: Queue) -> None:
    _, whatsapp_id = await sent(queue)
    queue.receipt([whatsapp_id], ReceiptKind.RETRY, chat="120363000000000001@g.us")
    await heard_of(queue, ReceiptKind.RETRY, 1)
    assert len(queue.engine.sends) == 1


async def test_what_another_device_of_theirs_could_read_is_not_sent_again(queue: Queue) -> None:
    kept, whatsapp_id = await sent(queue)
    queue.receipt([whatsapp_id])
    await queue.state(kept, State.DELIVERED)
    queue.receipt([whatsapp_id, "3EB0-of-nobody"], ReceiptKind.RETRY)
    await heard_of(queue, ReceiptKind.RETRY, 1)
    assert len(queue.engine.sends) == 1
    assert queue.value("resends_total") == 0

"""Which receipts prove that the recipient has a message."""

import pytest

from service.engine.protocol import Receipt, ReceiptKind
from service.queue.model import State
from service.queue.receipts import asks_again, proves
from tests.people import ANN

PROOF = {
    ReceiptKind.DELIVERED: State.DELIVERED,
    ReceiptKind.INACTIVE: State.DELIVERED,
    ReceiptKind.READ: State.READ,
    ReceiptKind.PLAYED: State.READ,
}


@pytest.mark.parametrize("kind", ReceiptKind)
@pytest.mark.parametrize("from_me", [False, True])
def test_only_the_recipients_own_receipts_prove_anything(kind: ReceiptKind, from_me: bool) -> None:
    receipt = Receipt(
        message_ids=("3EB0",), receipt=kind, chat=ANN, sender=ANN, from_me=from_me, timestamp=1.0
    )
    assert proves(receipt) is (None if from_me else PROOF.get(kind))


@pytest.mark.parametrize("kind", ReceiptKind)
@pytest.mark.parametrize("from_me", [False, True])
@pytest.mark.parametrize("resent_by_engine", [False, True])
@pytest.mark.parametrize("chat", [f"{ANN}@s.whatsapp.net", "120363000000000001@g.us"])
def test_the_queue_sends_again_only_what_a_recipient_asks_for_and_nobody_else_sends(
    kind: ReceiptKind, from_me: bool, resent_by_engine: bool, chat: str
) -> None:
    receipt = Receipt(
        message_ids=("3EB0",), receipt=kind, chat=chat, sender=ANN, from_me=from_me, timestamp=1.0,
        resent_by_engine=resent_by_engine,
    )  # fmt: skip
    expected = (kind, from_me, resent_by_engine) == (ReceiptKind.RETRY, False, False) and "@g.us" not in chat
    assert asks_again(receipt) is expected

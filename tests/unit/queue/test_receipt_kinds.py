"""Which receipts prove that the recipient has a message."""

import pytest

from service.engine.protocol import Receipt, ReceiptKind
from service.queue.model import State
from service.queue.receipts import proves
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

"""Which of whatsmeow's lines tell that a message is lost, or that somebody else has to send it again."""

import pytest

from service.engine.complaints import NotRead, NotResent, complaint
from service.engine.protocol import Unread


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        (
            "Ignoring message 3EB01 from 1:1@lid in 1@lid: failed to decrypt normal message: failed to get or"
            " create message keys: received message with old counter (index: 7, count: 6)",
            NotRead("3EB01", Unread.OLD_COUNTER),
        ),
        ("Not sending any more retry receipts for 3EB01", NotRead("3EB01", Unread.GIVEN_UP)),
        (
            "Failed to handle retry receipt for 1@lid/3EB01 from 1:1@lid: failed to send retry message:"
            " websocket not connected",
            NotResent("3EB01"),
        ),
        (
            "Failed to handle retry receipt for 1@lid/3EB01 from 1:1@lid: couldn't find message 3EB01",
            NotResent("3EB01"),
        ),
        ("Ignoring message 3EB01 from 1:1@lid in 1@lid: event was already processed", None),
        ("Error decrypting message 3EB01 from 1:1@lid in 1@lid: no session", None),
        ("Successfully authenticated", None),
    ],
)
def test_a_line_means(line: str, meaning: NotRead | NotResent | None) -> None:
    assert complaint(line) == meaning

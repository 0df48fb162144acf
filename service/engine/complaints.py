"""What whatsmeow says of messages in its log alone: they are lost, or somebody else has to do something."""

import re
from dataclasses import dataclass
from typing import Final

from service.engine.protocol import Unread

_UNREAD: Final = (
    (Unread.OLD_COUNTER, re.compile(r"Ignoring message (\S+) from .*received message with old counter")),
    (Unread.GIVEN_UP, re.compile(r"Not sending any more retry receipts for (\S+)")),
)

_NOT_RESENT: Final = re.compile(r"Failed to handle retry receipt for [^/]*/(\S+) from ")


@dataclass(frozen=True, slots=True)
class NotRead:
    """A message to us was not read, and nobody is asked for it again."""

    id: str
    reason: Unread


@dataclass(frozen=True, slots=True)
class NotResent:
    """A message of ours was asked for again, and whatsmeow could not send it."""

    id: str


def complaint(text: str) -> NotRead | NotResent | None:
    """What this line of whatsmeow's client says of a message."""
    for reason, words in _UNREAD:
        if found := words.match(text):
            return NotRead(found[1], reason)
    found = _NOT_RESENT.match(text)
    return NotResent(found[1]) if found else None

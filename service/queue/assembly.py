"""Messages made of their fields, quickly.

A store makes each message several times on its way. `dataclasses.replace`, the `__init__` of a frozen class
and setting its slots one by one took up to a quarter of the time that one spends in this program. A draft has
the same slots and may be written; when it is ready, it becomes the message.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, make_dataclass
from operator import attrgetter
from typing import Any, Final

from service.queue.model import Message

FIELDS: Final = tuple(field.name for field in fields(Message))
"""Every field of a message, in order."""

MUTABLE: Final = (
    "state",
    "attempts",
    "secret",
    "whatsapp_id",
    "claim_token",
    "worker",
    "due_at",
    "claimed_at",
    "sent_at",
    "delivered_at",
    "read_at",
    "finished_at",
    "last_result",
    "last_error",
    "expires_at",
    "resends",
)
"""What may change in the life of a message."""

_FIELDS: Final = len(FIELDS)
_VALUES: Final = attrgetter(*FIELDS)
_Draft: Final = make_dataclass("_Draft", FIELDS, slots=True)


def assembled(values: Sequence[Any]) -> Message:
    """The message with these values of `FIELDS`; more of them are left out."""
    return _finished(_Draft(*values[:_FIELDS]))


def changed(message: Message, changes: Mapping[str, object]) -> Message:
    """The message with some fields changed. Raises AttributeError for one that it does not have."""
    draft = _Draft(*_VALUES(message))
    for name, value in changes.items():
        setattr(draft, name, value)
    return _finished(draft)


def _finished(draft: Any) -> Message:
    draft.__class__ = Message
    message: Message = draft
    return message

"""Messages made of their fields, quickly.

A store makes each message several times on its way. `dataclasses.replace`, and the `__init__` of a frozen
class, took a quarter of the time that one spends in this program; this sets the slots themselves.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
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

_SLOTS: Final = {name: getattr(Message, name).__set__ for name in FIELDS}
_SET: Final = tuple(_SLOTS.values())
_VALUES: Final = attrgetter(*FIELDS)


def assembled(values: Iterable[Any]) -> Message:
    """The message with these values of `FIELDS`; more of them are left out."""
    message = object.__new__(Message)
    for set_field, value in zip(_SET, values, strict=False):
        set_field(message, value)
    return message


def changed(message: Message, changes: Mapping[str, object]) -> Message:
    """The message with some fields changed. Raises KeyError for one that it does not have."""
    after = assembled(_VALUES(message))
    for name, value in changes.items():
        _SLOTS[name](after, value)
    return after

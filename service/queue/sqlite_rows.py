"""A message as a row of SQLite, and back."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

import msgspec

from service.engine.content import AnyContent
from service.queue.model import Message, OnUnknown, SendResult, State

_CONTENT: Final = msgspec.json.Decoder(AnyContent)

_FIELDS: Final = tuple(field.name for field in fields(Message))
_MUTABLE: Final = (
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

INSERT: Final = f"""
    INSERT INTO message (account, content_type, {", ".join(_FIELDS)})
    VALUES (?, ?, {", ".join("?" * len(_FIELDS))})"""  # noqa: S608
UPDATE: Final = f"UPDATE message SET {', '.join(f'{name} = ?' for name in _MUTABLE)} WHERE seq = ?"  # noqa: S608
SELECT: Final = f"SELECT {', '.join(_FIELDS)} FROM message"  # noqa: S608


def inserted(message: Message, account: str) -> list[Any]:
    """The values for `INSERT`; SQLite gives the seq."""
    row = [getattr(message, name) for name in _FIELDS]
    row[0] = None
    row[_FIELDS.index("content")] = msgspec.json.encode(message.content).decode()
    return [account, message.content.__struct_config__.tag, *row]


def updated(message: Message) -> list[Any]:
    """The values for `UPDATE`."""
    return [*(getattr(message, name) for name in _MUTABLE), message.seq]


def message(row: Sequence[Any]) -> Message:
    """The message of a row of `SELECT`."""
    values = dict(zip(_FIELDS, row, strict=True))
    values["content"] = _CONTENT.decode(values["content"])
    values["state"] = State(values["state"])
    values["on_unknown"] = OnUnknown(values["on_unknown"])
    if values["last_result"] is not None:
        values["last_result"] = SendResult(values["last_result"])
    return Message(**values)

"""A message as a row of SQLite, and back."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from service.engine.content import AnyContent
from service.queue.assembly import FIELDS, MUTABLE
from service.queue.model import Message, OnUnknown, SendResult, State

_CONTENT: Final = msgspec.json.Decoder(AnyContent)


INSERT: Final = f"""
    INSERT INTO message (account, content_type, {", ".join(FIELDS)})
    VALUES (?, ?, {", ".join("?" * len(FIELDS))})"""  # noqa: S608
UPDATE: Final = f"UPDATE message SET {', '.join(f'{name} = ?' for name in MUTABLE)} WHERE seq = ?"  # noqa: S608
SELECT: Final = f"SELECT {', '.join(FIELDS)} FROM message"  # noqa: S608


def inserted(message: Message, account: str) -> list[Any]:
    """The values for `INSERT`; SQLite gives the seq."""
    row = [getattr(message, name) for name in FIELDS]
    row[0] = None
    row[FIELDS.index("content")] = msgspec.json.encode(message.content).decode()
    return [account, message.content.__struct_config__.tag, *row]


def updated(message: Message) -> list[Any]:
    """The values for `UPDATE`."""
    return [*(getattr(message, name) for name in MUTABLE), message.seq]


def message(row: Sequence[Any]) -> Message:
    """The message of a row of `SELECT`."""
    values = dict(zip(FIELDS, row, strict=True))
    values["content"] = _CONTENT.decode(values["content"])
    values["state"] = State(values["state"])
    values["on_unknown"] = OnUnknown(values["on_unknown"])
    if values["last_result"] is not None:
        values["last_result"] = SendResult(values["last_result"])
    return Message(**values)

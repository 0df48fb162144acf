"""A message as a row of SQLite, and back."""

from collections.abc import Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

import msgspec

from service.engine.content import AnyContent
from service.queue.assembly import FIELDS, MUTABLE, assembled
from service.queue.model import Message, OnUnknown, SendResult, State

_OF: Final = attrgetter(*MUTABLE)
_CONTENT_AT, _STATE_AT, _ON_UNKNOWN_AT, _LAST_RESULT_AT = map(
    FIELDS.index, ("content", "state", "on_unknown", "last_result")
)
_CONTENT: Final = msgspec.json.Decoder(AnyContent)


INSERT: Final = f"""
    INSERT INTO message (account, file, {", ".join(FIELDS)})
    VALUES (?, ?, {", ".join("?" * len(FIELDS))})"""  # noqa: S608
SELECT: Final = f"SELECT {', '.join(FIELDS)} FROM message"  # noqa: S608


def inserted(message: Message, account: str) -> list[Any]:
    """The values for `INSERT`; SQLite gives the seq."""
    row = [getattr(message, name) for name in FIELDS]
    row[0] = None
    row[_CONTENT_AT] = msgspec.json.encode(message.content).decode()
    file = getattr(message.content, "file", None)
    return [account, None if file is None else file.sha256, *row]


def update(after: Message, before: Message) -> tuple[str, list[Any]] | None:
    """The statement that makes `before` `after`, and its values; None when they are the same.

    It sets what differs: SQLite renews the entry in every index of a column that is set, changed or not.
    """
    differing = [pair for pair in zip(MUTABLE, _OF(after), _OF(before), strict=True) if pair[1] != pair[2]]
    if not differing:
        return None
    return _setting(tuple(name for name, _, _ in differing)), [*(new for _, new, _ in differing), after.seq]


@lru_cache
def _setting(names: tuple[str, ...]) -> str:
    return f"UPDATE message SET {', '.join(f'{name} = ?' for name in names)} WHERE seq = ?"  # noqa: S608


def message(row: Sequence[Any]) -> Message:
    """The message of a row of `SELECT`."""
    values = list(row)
    values[_CONTENT_AT] = _CONTENT.decode(values[_CONTENT_AT])
    values[_STATE_AT] = State(values[_STATE_AT])
    values[_ON_UNKNOWN_AT] = OnUnknown(values[_ON_UNKNOWN_AT])
    if values[_LAST_RESULT_AT] is not None:
        values[_LAST_RESULT_AT] = SendResult(values[_LAST_RESULT_AT])
    return assembled(values)

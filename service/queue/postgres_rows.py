"""Messages as rows of PostgreSQL, many in one statement, and back."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, Final

import msgspec

from service.engine.content import AnyContent
from service.queue.model import Message, OnUnknown, SendResult, State

_CONTENT: Final = msgspec.json.Decoder(AnyContent)

_TYPES: Final = {
    "id": "text",
    "chat": "text",
    "content": "json",
    "state": "text",
    "priority": "smallint",
    "attempts": "integer",
    "max_attempts": "integer",
    "on_unknown": "text",
    "accepted_at": "float8",
    "due_at": "float8",
    "expires_at": "float8",
    "idempotency_key": "text",
    "traceparent": "text",
    "secret": "bytea",
    "whatsapp_id": "text",
    "sent_at": "float8",
    "delivered_at": "float8",
    "read_at": "float8",
    "finished_at": "float8",
    "last_result": "text",
    "last_error": "text",
    "claim_token": "bigint",
    "worker": "text",
    "claimed_at": "float8",
    "resends": "smallint",
}
"""Every field of Message but `seq`, which the table gives."""

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


def columns(table: str) -> str:
    """What `message` reads, of the table or alias named."""
    return ", ".join(f"{table}.{name}" for name in _FIELDS)


def _arrays(names: Sequence[str], *, first: int) -> str:
    return ", ".join(f"${at}::{_TYPES[name]}[]" for at, name in enumerate(names, first))


SELECT: Final = f"SELECT {columns('m')} FROM beacon_message AS m"  # noqa: S608

INSERT: Final = f"""
    INSERT INTO beacon_message (account, file, {", ".join(_TYPES)})
    SELECT $1, new.file, {", ".join(f"new.{name}" for name in _TYPES)}
    FROM unnest($2::text[], {_arrays(tuple(_TYPES), first=3)})
        WITH ORDINALITY AS new (file, {", ".join(_TYPES)}, place)
    ORDER BY new.place
    ON CONFLICT DO NOTHING
    RETURNING id, seq"""  # noqa: S608
"""$1 account, then `inserted`. In the order given; one whose id or idempotency key is kept is left out."""


def update(changes: Sequence[tuple[Message, Message]]) -> tuple[str, list[list[Any]]]:
    """The statement, with the account as $1, that turns messages as they were into what they shall be, and
    its arrays. It leaves out those that somebody moved since they were read."""
    before, after = zip(*changes, strict=True)
    names = tuple(
        name for name in _MUTABLE if any(getattr(old, name) != getattr(new, name) for old, new in changes)
    )
    values = [[getattr(message, name) for message in after] for name in names]
    if "last_error" in names:
        at = names.index("last_error")
        values[at] = [None if error is None else _storable(error) for error in values[at]]
    guards = [[m.seq for m in before], [m.state for m in before], [m.claim_token for m in before]]
    return _update(names), [*guards, *values]


@cache
def _update(names: tuple[str, ...]) -> str:
    """Written so that no index but that of `seq` seems to help."""
    new = "".join(f", {name}" for name in names)
    arrays = "".join(f", ${at}::{_TYPES[name]}[]" for at, name in enumerate(names, 5))
    changes = ", ".join(f"{name} = new.{name}" for name in names) or "seq = m.seq"
    return f"""
        UPDATE beacon_message AS m SET {changes}
        FROM unnest($2::bigint[], $3::text[], $4::bigint[]{arrays})
            AS new (old_seq, old_state, old_token{new})
        WHERE m.seq = new.old_seq AND m.state IS NOT DISTINCT FROM new.old_state
            AND m.claim_token IS NOT DISTINCT FROM new.old_token AND m.account || '' = $1"""  # noqa: S608


def inserted(messages: Sequence[Message]) -> list[list[Any]]:
    """The arrays for `INSERT`."""
    files = [getattr(getattr(message.content, "file", None), "sha256", None) for message in messages]
    values = [[getattr(message, name) for message in messages] for name in _TYPES]
    values[tuple(_TYPES).index("content")] = [
        msgspec.json.encode(message.content).decode() for message in messages
    ]
    return [files, *values]


def message(row: Iterable[Any]) -> Message:
    """The message of a row that begins with `columns`."""
    values = dict(zip(_FIELDS, row, strict=False))
    values["content"] = _CONTENT.decode(values["content"])
    values["state"] = State(values["state"])
    values["on_unknown"] = OnUnknown(values["on_unknown"])
    if values["last_result"] is not None:
        values["last_result"] = SendResult(values["last_result"])
    return Message(**values)


def _storable(text: str) -> str:
    """PostgreSQL keeps no NUL and no lone surrogate; another program's words must not undo an outcome."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")

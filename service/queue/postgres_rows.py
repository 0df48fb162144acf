"""Messages as rows of PostgreSQL, many in one statement, and back."""

from collections.abc import Iterable, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, Final

import msgspec

from service.engine.content import AnyContent
from service.queue.assembly import FIELDS, MUTABLE, assembled
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

_NUMBERS: Final = frozenset({"smallint", "integer", "bigint", "float8"})

_CONTENT_AT: Final = FIELDS.index("content")
_STATE_AT: Final = FIELDS.index("state")
_ON_UNKNOWN_AT: Final = FIELDS.index("on_unknown")
_RESULT_AT: Final = FIELDS.index("last_result")
_STATES: Final = {state.value: state for state in State}
_ON_UNKNOWN: Final = {choice.value: choice for choice in OnUnknown}
_RESULTS: Final[dict[str | None, SendResult | None]] = {
    None: None,
    **{result.value: result for result in SendResult},
}
_mutable: Final = attrgetter(*MUTABLE)


def columns(table: str) -> str:
    """What `message` reads, of the table or alias named."""
    return ", ".join(f"{table}.{name}" for name in FIELDS)


def numbers(values: Iterable[float | None]) -> str:
    """An array of numbers as PostgreSQL writes it, for a parameter `$1::text::bigint[]`.

    Of each element of a list asyncpg asks whether it is a list, which takes longer than all the rest.
    """
    return "{" + ",".join(map(str, values)).replace("None", "NULL") + "}"


def _array(name: str, at: int) -> str:
    kind = _TYPES[name]
    return f"${at}::text::{kind}[]" if kind in _NUMBERS else f"${at}::{kind}[]"


def _arrays(names: Sequence[str], *, first: int) -> str:
    return ", ".join(_array(name, at) for at, name in enumerate(names, first))


def _values(name: str, values: Iterable[Any]) -> str | list[Any]:
    """For a parameter of `_array`."""
    return numbers(values) if _TYPES[name] in _NUMBERS else list(values)


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


def update(
    changes: Sequence[tuple[Message, Message]], *, unless_receipt: Sequence[str | None] | None = None
) -> tuple[str, list[str | Sequence[Any]]]:
    """The statement, with the account as $1, that turns messages as they were into what they shall be, and
    its arrays; it answers the seqs of those that it changed.

    It leaves out those that somebody moved since they were read, and those for whose WhatsApp id in
    `unless_receipt` there is an early receipt.
    """
    before, after = zip(*changes, strict=True)
    old, new = (zip(*map(_mutable, messages), strict=True) for messages in (before, after))
    changed = {name: list(now) for name, was, now in zip(MUTABLE, old, new, strict=True) if was != now}
    if "last_error" in changed:
        errors = changed["last_error"]
        changed["last_error"] = [None if error is None else _storable(error) for error in errors]
    names, values = tuple(changed), [_values(name, now) for name, now in changed.items()]
    guards = [
        numbers(m.seq for m in before),
        [m.state for m in before],
        numbers(m.claim_token for m in before),
    ]
    if unless_receipt is None:
        return _update(names), [*guards, *values]
    return _update(names, look_for_receipt=True), [*guards, *values, unless_receipt]


@cache
def _update(names: tuple[str, ...], *, look_for_receipt: bool = False) -> str:
    """Written so that no index but that of `seq` seems to help."""
    new = "".join(f", {name}" for name in names)
    arrays = "".join(f", {_array(name, at)}" for at, name in enumerate(names, 5))
    changes = ", ".join(f"{name} = new.{name}" for name in names) or "seq = m.seq"
    early = ""
    if look_for_receipt:
        new += ", early_id"
        arrays += f", ${len(names) + 5}::text[]"
        early = """AND NOT EXISTS (
                SELECT FROM beacon_early_receipt AS early
                WHERE early.whatsapp_id = new.early_id AND early.account = $1 OFFSET 0)"""
    return f"""
        UPDATE beacon_message AS m SET {changes}
        FROM unnest($2::text::bigint[], $3::text[], $4::text::bigint[]{arrays})
            AS new (old_seq, old_state, old_token{new})
        WHERE m.seq = new.old_seq AND m.state IS NOT DISTINCT FROM new.old_state
            AND m.claim_token IS NOT DISTINCT FROM new.old_token AND m.account || '' = $1 {early}
        RETURNING m.seq"""  # noqa: S608


def inserted(messages: Sequence[Message]) -> list[str | list[Any]]:
    """The arrays for `INSERT`."""
    files = [getattr(getattr(message.content, "file", None), "sha256", None) for message in messages]
    columns = {name: [getattr(message, name) for message in messages] for name in _TYPES}
    columns["content"] = [msgspec.json.encode(message.content).decode() for message in messages]
    return [files, *(_values(name, values) for name, values in columns.items())]


def message(row: Iterable[Any]) -> Message:
    """The message of a row that begins with `columns`."""
    values = list(row)
    values[_CONTENT_AT] = _CONTENT.decode(values[_CONTENT_AT])
    values[_STATE_AT] = _STATES[values[_STATE_AT]]
    values[_ON_UNKNOWN_AT] = _ON_UNKNOWN[values[_ON_UNKNOWN_AT]]
    values[_RESULT_AT] = _RESULTS[values[_RESULT_AT]]
    return assembled(values)


def _storable(text: str) -> str:
    """PostgreSQL keeps no NUL and no lone surrogate; another program's words must not undo an outcome."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")

"""A message as a row of SQLite, and back."""

from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

import msgspec

from service.engine.content import AnyContent
from service.queue.assembly import FIELDS, MUTABLE, assembled
from service.queue.model import Claim, Message, OnUnknown, SendResult, State

_OF: Final = attrgetter(*MUTABLE)
_CONTENT_AT, _STATE_AT, _ON_UNKNOWN_AT, _RESULT_AT = map(
    FIELDS.index, ("content", "state", "on_unknown", "last_result")
)
_CONTENT: Final = msgspec.json.Decoder(AnyContent)
_STATES: Final = {state.value: state for state in State}
_ON_UNKNOWN: Final = {choice.value: choice for choice in OnUnknown}
_RESULTS: Final[dict[str | None, SendResult | None]] = {
    None: None,
    **{result.value: result for result in SendResult},
}


INSERT: Final = f"""
    INSERT INTO message (account, file, {", ".join(FIELDS)})
    VALUES (?, ?, {", ".join("?" * len(FIELDS))})"""  # noqa: S608
SELECT: Final = f"SELECT {', '.join(FIELDS)} FROM message"  # noqa: S608

CLAIM: Final = "UPDATE message SET state = ?, claim_token = ?, worker = ?, claimed_at = ? WHERE seq = ?"
"""What `transitions.claimed` changes."""

COMPLETE: Final = """
    UPDATE message SET state = ?, attempts = ?, whatsapp_id = ?, claim_token = ?, worker = ?, sent_at = ?,
                       finished_at = ?, last_result = ?, last_error = ?
    WHERE seq = ? AND claim_token = ? AND state = 'sending' AND NOT EXISTS (
        SELECT 1 FROM early_receipt WHERE account = ? AND whatsapp_id = ?)"""
"""What `transitions.completed` changes, if nothing has happened to the message since it was claimed and no
receipt came for its id."""

RECEIVE: Final = """
    UPDATE message SET state = ?, worker = ?, delivered_at = ?, read_at = ?, finished_at = ? WHERE seq = ?"""
"""What `transitions.received` changes."""


def inserted(message: Message, account: str) -> list[Any]:
    """The values for `INSERT`; SQLite gives the seq."""
    row = [_plain(getattr(message, name)) for name in FIELDS]
    row[0] = None
    row[_CONTENT_AT] = msgspec.json.encode(message.content).decode()
    file = getattr(message.content, "file", None)
    return [account, None if file is None else file.sha256, *row]


def claim(after: Message) -> tuple[Any, ...]:
    """The values for `CLAIM`."""
    return str(after.state), after.claim_token, after.worker, after.claimed_at, after.seq


def complete(after: Message, held: Claim, account: str) -> tuple[Any, ...]:
    """The values for `COMPLETE`."""
    return (
        str(after.state), after.attempts, after.whatsapp_id, after.claim_token, after.worker, after.sent_at,
        after.finished_at, _plain(after.last_result), after.last_error,
        after.seq, held.token, account, after.whatsapp_id,
    )  # fmt: skip


def receive(after: Message) -> tuple[Any, ...]:
    """The values for `RECEIVE`."""
    return (
        str(after.state), after.worker, after.delivered_at, after.read_at, after.finished_at, after.seq,
    )  # fmt: skip


def update(after: Message, before: Message) -> tuple[str, list[Any]] | None:
    """The statement that makes `before` `after`, and its values; None when they are the same.

    It sets what differs: SQLite renews the entry in every index of a column that is set, changed or not.
    """
    differing = [pair for pair in zip(MUTABLE, _OF(after), _OF(before), strict=True) if pair[1] != pair[2]]
    if not differing:
        return None
    values = [_plain(new) for _, new, _ in differing]
    return _setting(tuple(name for name, _, _ in differing)), [*values, after.seq]


@lru_cache
def _setting(names: tuple[str, ...]) -> str:
    return f"UPDATE message SET {', '.join(f'{name} = ?' for name in names)} WHERE seq = ?"  # noqa: S608


def _plain(value: Any) -> Any:
    """A word of ours as a plain string: what is not exactly a str, sqlite3 first looks for an adapter of."""
    return str(value) if isinstance(value, StrEnum) else value


def message(row: Sequence[Any]) -> Message:
    """The message of a row of `SELECT`."""
    values = list(row)
    values[_CONTENT_AT] = _CONTENT.decode(values[_CONTENT_AT])
    values[_STATE_AT] = _STATES[values[_STATE_AT]]
    values[_ON_UNKNOWN_AT] = _ON_UNKNOWN[values[_ON_UNKNOWN_AT]]
    values[_RESULT_AT] = _RESULTS[values[_RESULT_AT]]
    return assembled(values)

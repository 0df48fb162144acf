"""Listing messages: each state by an index of its own, so that rare ones are found among millions."""

import heapq
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from service.queue import sqlite_rows as rows
from service.queue.model import Message, Page, Query, State

LOOK: Final = 10_000
"""Most messages of one chat that a page looks at when it wants only some states of them; a page may so be
short, even empty, and not the last."""

_LATEST: Final = "AND seq < ? ORDER BY seq DESC LIMIT ?"
_ALL: Final = f"{rows.SELECT} NOT INDEXED WHERE account = ? {_LATEST}"
_OF_CHAT: Final = f"{rows.SELECT} INDEXED BY message_chat WHERE account = ? AND chat = ? {_LATEST}"
_OF_STATE: Final = f"""{rows.SELECT} INDEXED BY message_state
    WHERE account = ? AND state = ? AND state <> 'sending' {_LATEST}"""
_SENDING: Final = f"""{rows.SELECT} INDEXED BY message_sending
    WHERE account = ? AND state = 'sending' AND seq < ?"""  # never more than a few

_END: Final = 2**63 - 1


def find(connection: sqlite3.Connection, account: str, query: Query) -> Page:
    """See QueueStore.find."""
    with _one_moment(connection):
        return _found(connection, account, query, before=_END if query.before is None else query.before)


@contextmanager
def _one_moment(connection: sqlite3.Connection) -> Iterator[None]:
    """A message that moves while its page is put together is in it once, neither twice nor not at all."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _found(connection: sqlite3.Connection, account: str, query: Query, *, before: int) -> Page:
    if query.chat is not None:
        return _of_chat(connection, account, query, chat=query.chat, before=before)
    if not query.states:
        newest: Iterable[Message] = _messages(connection.execute(_ALL, (account, before, query.limit + 1)))
    else:
        newest = heapq.merge(
            *(_of_state(connection, account, state, query, before=before) for state in query.states),
            key=lambda message: message.seq,
            reverse=True,
        )
    return _page(list(newest), query.limit)


def _of_state(
    connection: sqlite3.Connection, account: str, state: State, query: Query, *, before: int
) -> Iterable[Message]:
    if state is State.SENDING:
        sending = _messages(connection.execute(_SENDING, (account, before)))
        return sorted(sending, key=lambda message: -message.seq)
    return _messages(connection.execute(_OF_STATE, (account, state.value, before, query.limit + 1)))


def _of_chat(connection: sqlite3.Connection, account: str, query: Query, *, chat: str, before: int) -> Page:
    if not query.states:
        return _page(
            list(_messages(connection.execute(_OF_CHAT, (account, chat, before, query.limit + 1)))),
            query.limit,
        )
    wanted: list[Message] = []
    looked, last = 0, before
    for message in _messages(connection.execute(_OF_CHAT, (account, chat, before, LOOK))):
        if message.state in query.states:
            if len(wanted) == query.limit:
                return Page(wanted, wanted[-1].seq)
            wanted.append(message)
        looked, last = looked + 1, message.seq
    return Page(wanted, last if looked == LOOK else None)


def _messages(found: Iterable[Any]) -> Iterator[Message]:
    return map(rows.message, found)


def _page(found: list[Message], limit: int) -> Page:
    return Page(found[:limit], found[limit - 1].seq if len(found) > limit else None)

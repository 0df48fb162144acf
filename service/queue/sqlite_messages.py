"""Messages and lanes inside one SQLite transaction: a lane always names the head of its chat's line."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from service.queue import sqlite_rows as rows
from service.queue.assembly import changed
from service.queue.model import Message, State

IN_LINE: Final = frozenset({State.QUEUED, State.UNKNOWN})
"""States of messages that nobody is sending and that hold back those behind them."""

_HEAD: Final = """
    SELECT seq, state, priority, due_at, expires_at FROM message INDEXED BY message_line
    WHERE account = ? AND chat = ? AND state IN ('queued', 'unknown') ORDER BY seq LIMIT 1"""
_OPEN: Final = """
    INSERT INTO lane (seq, priority, turn, due_at, account, chat) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING"""
_SET: Final = """
    INSERT INTO lane (seq, priority, turn, due_at, account, chat) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET seq = excluded.seq, priority = excluded.priority, turn = excluded.turn,
                              due_at = excluded.due_at"""
_MOVE_ON: Final = """
    UPDATE lane SET seq = ?, priority = ?, turn = ?, due_at = ? WHERE account = ? AND chat = ?"""
_CLOSE: Final = "DELETE FROM lane WHERE account = ? AND chat = ?"


class Messages:
    """The messages of one account. `moves` counts what moved since it was last emptied."""

    def __init__(self, connection: sqlite3.Connection, account: str) -> None:
        self.execute = connection.execute
        self.execute_many = connection.executemany
        self.account = account
        self.moves: Counter[tuple[State | None, State | None]] = Counter()

    def one(self, query: str, values: Sequence[Any]) -> Message | None:
        """The message that a query finds."""
        row = self.execute(query, values).fetchone()
        return None if row is None else rows.message(row)

    def many(self, query: str, values: Sequence[Any]) -> list[Message]:
        """The messages that a query finds."""
        return [rows.message(row) for row in self.execute(query, values).fetchall()]

    def insert(self, message: Message, *, now: float) -> Message:
        """Keep it; the message with its seq."""
        seq = self.execute(rows.INSERT, rows.inserted(message, self.account)).lastrowid
        message = changed(message, {"seq": seq})
        if message.state in IN_LINE:
            head = seq, message.state, message.priority, message.due_at, message.expires_at
            self.execute(_OPEN, (*lane(head, now=now), self.account, message.chat))
        self.moves[None, message.state] += 1
        return message

    def save(self, after: Message, before: Message, *, now: float) -> Message:
        """Change a message, and what its lane names where that changes the line."""
        self.write(after, before)
        self.moved(after, before, now=now)
        return after

    def write(self, after: Message, before: Message) -> None:
        """Change a message, of which nothing else is told yet."""
        if (update := rows.update(after, before)) is not None:
            self.execute(*update)

    def moved(self, after: Message, before: Message, *, now: float) -> None:
        """A message was changed: count it, and let its lane name who is the head now."""
        if after.state is not before.state:
            self.moves[before.state, after.state] += 1
            if before.state in IN_LINE or after.state in IN_LINE:
                self._settle_lane(after.chat, now=now)

    def move_on(self, lanes: Iterable[tuple[Any, ...]]) -> None:
        """Let lanes name other heads: what `lane` made of each, and its chat."""
        self.execute_many(_MOVE_ON, [(*named, self.account, chat) for *named, chat in lanes])

    def close_lane(self, chat: str) -> None:
        """There is nobody in this line."""
        self.execute(_CLOSE, (self.account, chat))

    def _settle_lane(self, chat: str, *, now: float) -> None:
        head = self.execute(_HEAD, (self.account, chat)).fetchone()
        if head is None:
            self.close_lane(chat)
        else:
            self.execute(_SET, (*lane(head, now=now), self.account, chat))


def lane(head: tuple[Any, ...], *, now: float) -> tuple[Any, ...]:
    """How a lane names its head, given as (seq, state, priority, due_at, expires_at): by seq, priority, turn
    and when to look at it. An expired head is ready, for the next claim to move it away."""
    seq, state, priority, due_at, expires_at = head
    if state == State.UNKNOWN:
        return seq, priority, "blocked", due_at
    at = min(due_at, expires_at)
    return seq, priority, "ready" if at <= now else "waiting", at

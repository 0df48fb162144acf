"""Claims inside one SQLite transaction: many at once, and exactly those that one by one would have got.

Lanes are read in their order, one after the other, and merged with those who come up behind a message that
was taken. Everything is written when that is done, each lane once.
"""

import heapq
from bisect import insort
from dataclasses import dataclass, field
from typing import Any, Final

from service.queue import sqlite_rows as rows
from service.queue import transitions
from service.queue.assembly import FIELDS
from service.queue.model import PRIORITIES, Claim, State
from service.queue.sqlite_messages import Messages, lane

BATCH: Final = 256
"""Most lanes that one transaction promotes, and most expired messages that one claim moves away."""

_DUE: Final = "SELECT 1 FROM lane WHERE account = ? AND turn = 'waiting' AND due_at <= ?"
_PROMOTE: Final = f"""
    UPDATE lane SET turn = 'ready' WHERE (account, chat) IN (
        SELECT account, chat FROM lane WHERE account = ? AND turn = 'waiting' AND due_at <= ?
        ORDER BY due_at, priority DESC, seq LIMIT {BATCH})"""  # noqa: S608
_READY: Final = """
    SELECT seq, priority, chat, (
        SELECT max(seq) FROM message INDEXED BY message_sending
        WHERE account = lane.account AND chat = lane.chat AND state = 'sending')
    FROM lane INDEXED BY lane_ready WHERE account = ?1 AND turn = 'ready' AND NOT EXISTS (
        SELECT 1 FROM message INDEXED BY message_sending
        WHERE account = lane.account AND chat = lane.chat AND state = 'sending' AND worker <> ?2)"""
_NEXT: Final = f"{_READY} ORDER BY priority DESC, seq"
_FAIR: Final = f"{' UNION ALL '.join(f'{_READY} AND priority = {each}' for each in PRIORITIES)} ORDER BY seq"
"""One index serves both: those of each priority are in order, and SQLite merges them as they are read."""
_LINE: Final = f"""{rows.SELECT} INDEXED BY message_line
    WHERE account = ? AND chat = ? AND state IN ('queued', 'unknown') AND seq > ? ORDER BY seq LIMIT ?"""
_SENDING: Final = """
    SELECT seq, claim_token FROM message INDEXED BY message_sending
    WHERE account = ? AND chat = ? AND state = 'sending' ORDER BY seq"""
_TOKENS: Final = """
    INSERT INTO claim_counter (account, token) VALUES (?1, ?2)
    ON CONFLICT DO UPDATE SET token = token + ?2 RETURNING token"""

_SEQ, _STATE, _PRIORITY, _DUE_AT, _EXPIRES_AT = map(
    FIELDS.index, ("seq", "state", "priority", "due_at", "expires_at")
)


@dataclass(slots=True)
class _Line:
    """A chat's messages that nobody is sending, as far as they were read, as rows."""

    chat: str
    last_sending: int | None
    """The seq of the last of its messages that this worker is sending."""
    read: list[Any] = field(default_factory=list)
    at: int = 0
    ended: bool = False


class _Hand:
    """Gives out heads of lines in their order."""

    def __init__(self, kept: Messages, *, worker: str, now: float, limit: int, fair: bool) -> None:
        self._kept = kept
        self._now = now
        self._fair = fair
        self._left = limit
        self._lanes = kept.execute(_FAIR if fair else _NEXT, (kept.account, worker))
        self._lane = self._lanes.fetchone()
        self._heap: list[tuple[int, int, _Line]] = []
        self.lines: list[_Line] = []
        self.taken: list[tuple[_Line, Any]] = []
        self.late: list[Any] = []

    def next(self) -> bool:
        """Take the message whose turn it is, or put it aside when it has expired; whether there was one."""
        line = self._next_line()
        if line is None:
            return False
        row = line.read[line.at]
        line.at += 1
        if row[_EXPIRES_AT] <= self._now:
            self.late.append(row)
        else:
            self.taken.append((line, row))
            self._left -= 1
        head = self.head(line)
        if head is not None and lane(head, now=self._now)[2] == "ready":
            heapq.heappush(self._heap, (*self._rank(head[0], head[2]), line))
        return True

    def close(self) -> None:
        """Nothing more is wanted: what was read may be changed."""
        self._lanes.close()

    def head(self, line: _Line) -> tuple[Any, ...] | None:
        """Who comes next in this line, as `lane` wants it."""
        if line.at == len(line.read) and not line.ended:
            self._read(line, self._left + 1)
        if line.at == len(line.read):
            return None
        row = line.read[line.at]
        return row[_SEQ], row[_STATE], row[_PRIORITY], row[_DUE_AT], row[_EXPIRES_AT]

    def _next_line(self) -> _Line | None:
        if self._lane is None or (self._heap and self._heap[0][:2] < self._rank(*self._lane[:2])):
            return heapq.heappop(self._heap)[2] if self._heap else None
        seq, _, chat, last_sending = self._lane
        self._lane = self._lanes.fetchone()
        line = _Line(chat, last_sending)
        self._read(line, 2, after=seq - 1)
        assert line.read, f"lane names message {seq}, which is not kept"
        assert line.read[0][_SEQ] == seq, f"lane names message {seq}, which is not the first"
        self.lines.append(line)
        return line

    def _rank(self, seq: int, priority: int) -> tuple[int, int]:
        return (0 if self._fair else -priority, seq)

    def _read(self, line: _Line, messages: int, *, after: int | None = None) -> None:
        after = line.read[-1][_SEQ] if after is None else after
        found = self._kept.execute(_LINE, (self._kept.account, line.chat, after, messages)).fetchall()
        line.read += found
        line.ended = len(found) < messages


def take(kept: Messages, *, worker: str, now: float, limit: int, fair: bool) -> tuple[list[Claim], bool]:
    """See QueueStore.claim. The second value tells that there is more to look at: call again if there was
    none."""
    if kept.execute(_DUE, (kept.account, now)).fetchone() is not None:
        kept.execute(_PROMOTE, (kept.account, now))
    hand = _Hand(kept, worker=worker, now=now, limit=limit, fair=fair)
    more = True
    while more and len(hand.taken) < limit and len(hand.late) < BATCH:
        more = hand.next()
    hand.close()
    for row in hand.late:
        late = rows.message(row)
        kept.write(transitions.expired(late, now=now), late)
        kept.moves[State.QUEUED, State.EXPIRED] += 1
    claims = _claims(kept, hand.taken, worker=worker, now=now)
    _settle_lanes(kept, hand, now=now)
    return claims, more


def _claims(kept: Messages, taken: list[tuple[_Line, Any]], *, worker: str, now: float) -> list[Claim]:
    if not taken:
        return []
    (last,) = kept.execute(_TOKENS, (kept.account, len(taken))).fetchone()
    claims = []
    flying: dict[str, list[tuple[int, int]]] = {}
    for token, (line, row) in enumerate(taken, last - len(taken) + 1):
        sending = transitions.claimed(rows.message(row), token=token, worker=worker, now=now)
        before = flying.get(line.chat)
        if before is None:
            before = flying[line.chat] = _sending(kept, line)
        behind = next((token for seq, token in reversed(before) if seq < sending.seq), None)
        insort(before, (sending.seq, token))
        claims.append(Claim(sending, token, behind))
    kept.execute_many(rows.CLAIM, [rows.claim(claim.message) for claim in claims])
    kept.moves[State.QUEUED, State.SENDING] += len(claims)
    return claims


def _sending(kept: Messages, line: _Line) -> list[tuple[int, int]]:
    """The seqs and tokens of the messages of this chat that are being sent."""
    if line.last_sending is None:
        return []
    return kept.execute(_SENDING, (kept.account, line.chat)).fetchall()


def _settle_lanes(kept: Messages, hand: _Hand, *, now: float) -> None:
    moved = []
    for line in hand.lines:
        head = hand.head(line)
        if head is None:
            kept.close_lane(line.chat)
        else:
            moved.append((*lane(head, now=now), line.chat))
    if moved:
        kept.move_on(moved)

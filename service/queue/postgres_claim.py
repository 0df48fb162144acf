"""Claims: many at once, and exactly those that one after the other would have got.

Of as many lanes as there are claims the first few messages of each line are read, and the claims are
given out here, in memory. Where what was read does not suffice to say which message is next (a line is used
up, a head has expired), what is known is written, and the rest is asked for again.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

import asyncpg

from service.queue import postgres_rows as rows
from service.queue import transitions
from service.queue.model import Claim, State
from service.queue.postgres_transaction import Moved, Transaction, meanwhile

BATCH: Final = 256
"""Most lanes that one transaction promotes."""

ROUNDS: Final = 32
"""Most times that one transaction looks, so that none takes long."""

DEEP: Final = 64
"""Most messages of a line that are read at once."""

_PICK: Final = """
    WITH picked AS (
        SELECT lane.chat FROM beacon_lane AS lane
        WHERE lane.account = $1 AND lane.turn = 'ready' AND NOT EXISTS (
            SELECT FROM beacon_message AS message
            WHERE message.account = lane.account AND message.chat = lane.chat
                AND message.worker IS NOT NULL AND message.worker <> ALL ($2::text[])
            OFFSET 0)
        ORDER BY {order} LIMIT $3
        FOR UPDATE OF lane SKIP LOCKED)
    SELECT chat FROM picked
    UNION ALL SELECT NULL WHERE EXISTS (
        SELECT FROM beacon_lane WHERE account = $1 AND turn = 'waiting' AND due_at <= $4)"""
PICK: Final = _PICK.format(order="lane.priority DESC, lane.seq")
PICK_FAIR: Final = _PICK.format(order="lane.seq")
"""$2 workers, $3 how many, $4 now. A NULL tells that lanes have become due that still wait. OFFSET keeps the
planner from joining with everything that is being sent."""

PROMOTE: Final = f"""
    UPDATE beacon_lane SET turn = 'ready' WHERE (chat, account) IN (
        SELECT chat, account FROM beacon_lane WHERE account = $1 AND turn = 'waiting' AND due_at <= $2
        ORDER BY due_at, priority DESC, seq LIMIT {BATCH} FOR UPDATE SKIP LOCKED)"""  # noqa: S608

LINES: Final = """
    SELECT line.chat, line.seq, line.priority, line.state, line.due_at, line.expires_at,
           sender.worker AS sender,
           ahead.claim_token AS ahead_token, ahead.seq AS ahead_seq,
           nextval('beacon_claim_token') AS token
    FROM unnest($2::text[]) AS picked (chat)
    CROSS JOIN LATERAL (
        SELECT * FROM beacon_message AS message
        WHERE message.account = $1 AND message.chat = picked.chat AND message.state IN ('queued', 'unknown')
        ORDER BY message.seq LIMIT $3) AS line
    LEFT JOIN LATERAL (
        SELECT message.worker FROM beacon_message AS message
        WHERE message.account = $1 AND message.chat = picked.chat AND message.worker IS NOT NULL
        LIMIT 1) AS sender ON true
    LEFT JOIN LATERAL (
        SELECT message.claim_token, message.seq FROM beacon_message AS message
        WHERE message.account = $1 AND message.chat = picked.chat AND message.worker IS NOT NULL
            AND message.seq < line.seq
        ORDER BY message.seq DESC LIMIT 1) AS ahead ON true"""
"""$2 chats, $3 how many messages of each."""

CLAIM: Final = f"""
    UPDATE beacon_message AS m
    SET state = 'sending', claim_token = claim.token, worker = claim.worker, claimed_at = claim.at
    FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::float8[]) AS claim (seq, token, worker, at)
    WHERE m.seq = claim.seq AND m.state || '' = 'queued' AND m.account || '' = $1
    RETURNING {rows.columns("m")}"""  # noqa: S608
"""`transitions.claimed`, for many messages: $2 seqs, $3 tokens, $4 workers, $5 times."""

LATE: Final = f"{rows.SELECT} WHERE m.account || '' = $1 AND m.seq = $2"


@dataclass(frozen=True, slots=True)
class Take:
    """One call of QueueStore.claim."""

    worker: str
    fair: bool
    now: float


class Unserved(Exception):
    """There was too much to look at for one transaction: ask again."""


class _Entry:
    """A message of a line, as far as that says whose turn it is."""

    __slots__ = ("_row", "due_at", "expires_at", "seq")

    def __init__(self, row: asyncpg.Record) -> None:
        self._row = row
        self.seq: int = row["seq"]
        self.due_at: float = row["due_at"]
        self.expires_at: float = row["expires_at"]

    @property
    def priority(self) -> int:
        priority: int = self._row["priority"]
        return priority

    @property
    def is_queued(self) -> bool:
        return bool(self._row["state"] == State.QUEUED)

    @property
    def ahead(self) -> tuple[int, int] | None:
        """The message of the chat that is being sent before this one: its seq and its token."""
        seq: int | None = self._row["ahead_seq"]
        return None if seq is None else (seq, self._row["ahead_token"])


@dataclass(frozen=True, slots=True)
class _Given:
    """A claim that is not written yet."""

    asked: Take
    seq: int
    token: int
    behind: int | None


@dataclass(slots=True)
class _Line:
    """A chat's first messages that nobody is sending."""

    entries: list[_Entry]
    sender: str | None
    at: int = 0
    before: tuple[int, int] | None = None
    """What was claimed here last, its seq and its token."""

    def head(self) -> _Entry | None:
        return self.entries[self.at] if self.at < len(self.entries) else None


async def take(transaction: Transaction, asked: Sequence[Take]) -> list[Claim | Unserved | None]:
    """Serve the claims in their order; all of one `fair`."""
    await transaction.settle_lanes()
    answers: list[Claim | Unserved | None] = [Unserved()] * len(asked)
    waiting, depth = list(range(len(asked))), 1 if len(asked) == 1 else 2
    for turn in range(ROUNDS):
        if not waiting:
            break
        if turn == 0:
            served = waiting
        else:  # of one worker: then every lane that is found is one that it may take from
            served = [at for at in waiting if asked[at].worker == asked[waiting[0]].worker]
        found = await _round(transaction, asked, served, depth=depth)
        for at, claim in found.items():
            answers[at] = claim
        waiting = [at for at in waiting if at not in found]
        depth = min(DEEP, depth * 2)
    return answers


async def _round(
    transaction: Transaction, asked: Sequence[Take], served: list[int], *, depth: int
) -> dict[int, Claim | None]:
    """What is certain for some of those to be served."""
    fair = asked[served[0]].fair
    workers = list({asked[at].worker for at in served})
    picked = await _pick(transaction, workers, fair=fair, limit=len(served))
    if not picked:
        return dict.fromkeys(served)
    lines, tokens = await _read(transaction, picked, depth=depth)
    given: dict[int, _Given | None] = {}
    hand = _Hand(lines, tokens, fair=fair, depth=depth, now=transaction.now)
    for at in served:
        one = hand.give(asked[at])
        if one is None and (hand.unclear or len(picked) == len(served)):
            break
        given[at] = one
        if hand.unclear:
            break
    transaction.touch(picked)
    if hand.late is not None:
        await _expire(transaction, hand.late)
    return await _write(transaction, given)


async def _expire(transaction: Transaction, late: tuple[int, float]) -> None:
    seq, now = late
    for message in await transaction.messages(LATE, seq):
        transaction.save(transitions.expired(message, now=now), message)


async def _write(transaction: Transaction, given: dict[int, _Given | None]) -> dict[int, Claim | None]:
    """The claims, written; they are put together while the server finds the new heads."""
    claims: dict[int, Claim | None] = dict.fromkeys(given)
    new = [one for one in given.values() if one is not None]
    if not new:
        await transaction.settle_lanes()
        return claims
    found = await transaction.fetch(
        CLAIM,
        [one.seq for one in new],
        [one.token for one in new],
        [one.asked.worker for one in new],
        [one.asked.now for one in new],
    )
    if len(found) != len(new):
        raise Moved
    transaction.moves[State.QUEUED, State.SENDING] += len(new)

    def put_together() -> None:
        message = {row["seq"]: rows.message(row) for row in found}
        for at, one in given.items():
            if one is not None:
                claims[at] = Claim(message[one.seq], one.token, one.behind)

    await meanwhile(transaction.settle_lanes(), put_together)
    return claims


async def _pick(transaction: Transaction, workers: list[str], *, fair: bool, limit: int) -> list[str]:
    query = PICK_FAIR if fair else PICK
    found = [row["chat"] for row in await transaction.fetch(query, workers, limit, transaction.now)]
    if None in found:
        await transaction.execute(PROMOTE, transaction.now)
        found = [row["chat"] for row in await transaction.fetch(query, workers, limit, transaction.now)]
    picked = [chat for chat in found if chat is not None]
    transaction.holds(picked)
    return picked


async def _read(transaction: Transaction, picked: list[str], *, depth: int) -> tuple[list[_Line], list[int]]:
    lines: dict[str, _Line] = {}
    tokens: list[int] = []
    for row in await transaction.fetch(LINES, picked, depth):
        line = lines.get(row["chat"])
        if line is None:
            line = lines[row["chat"]] = _Line([], row["sender"])
        line.entries.append(_Entry(row))
        tokens.append(row["token"])
    for line in lines.values():
        line.entries.sort(key=attrgetter("seq"))
    return list(lines.values()), sorted(tokens, reverse=True)


class _Hand:
    """Gives out what was read, until it is `unclear` what is next."""

    def __init__(self, lines: list[_Line], tokens: list[int], *, fair: bool, depth: int, now: float) -> None:
        self.unclear = False
        self.late: tuple[int, float] | None = None
        """The seq of a message that was found expired, and when."""
        self._now = now
        self._tokens = tokens
        self._fair = fair
        self._depth = depth
        self._heap: list[tuple[int, int, _Line]] = []
        for line in lines:
            self._push(line)

    def give(self, asked: Take) -> _Given | None:
        """The claim; None when nothing of what was read is for this worker now, or it is unclear."""
        aside: list[_Line] = []
        given = None
        while self._heap and given is None and not self.unclear:
            _, _, line = heapq.heappop(self._heap)
            entry = line.entries[line.at]
            if entry.expires_at <= asked.now:
                self.late = (entry.seq, asked.now)
                self.unclear = True  # a lane that was not read may come before what follows here
            elif line.sender not in {None, asked.worker} or entry.due_at > asked.now:
                aside.append(line)
            else:
                given = self._claim(line, entry, asked)
                line.at += 1
                self._push(line)
        for line in aside:
            self._push(line)
        return given

    def _claim(self, line: _Line, entry: _Entry, asked: Take) -> _Given:
        token = self._tokens.pop()
        ahead = max((one for one in (entry.ahead, line.before) if one is not None), default=None)
        line.sender, line.before = asked.worker, (entry.seq, token)
        return _Given(asked, entry.seq, token, behind=None if ahead is None else ahead[1])

    def _push(self, line: _Line) -> None:
        entry = line.head()
        if entry is None:
            self.unclear = self.unclear or len(line.entries) == self._depth
            return
        if entry.is_queued and min(entry.due_at, entry.expires_at) <= self._now:
            rank = 0 if self._fair else -entry.priority
            heapq.heappush(self._heap, (rank, entry.seq, line))

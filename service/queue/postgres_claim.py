"""Claims: many at once, and exactly those that one after the other would have got.

Of as many lanes as there are claims the first few messages of each line are read, and the claims are
given out here, in memory. Where what was read does not suffice to say which message is next (a line is used
up, a head has expired), what is known is written, and the rest is asked for again.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from service.queue import postgres_rows as rows
from service.queue import transitions
from service.queue.model import Claim, State
from service.queue.postgres_transaction import Moved, Transaction

BATCH: Final = 256
"""Most lanes that one transaction promotes."""

ROUNDS: Final = 32
"""Most times that one transaction looks, so that none takes long."""

FIRST_DEPTH: Final = 2
"""How many messages of a line are read first, where many claims are asked for."""

DEEP: Final = 64
"""Most messages of a line that are read at once."""

_PICK: Final = """
    WITH picked AS (
        SELECT lane.chat, lane.priority, lane.seq FROM beacon_lane AS lane
        WHERE lane.account = $1 AND lane.turn = 'ready' AND lane.due_at <= $4 AND NOT EXISTS (
            SELECT FROM beacon_message AS message
            WHERE message.account = lane.account AND message.chat = lane.chat
                AND message.worker IS NOT NULL AND message.worker <> ALL ($2::text[])
            OFFSET 0)
        ORDER BY {order} LIMIT $3
        FOR UPDATE OF lane SKIP LOCKED)
    SELECT chat, priority, seq FROM picked
    UNION ALL SELECT NULL, NULL, NULL WHERE EXISTS (
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
    SELECT line.chat, line.seq, line.priority, line.state = 'queued', line.due_at, line.expires_at,
           ahead.seq, ahead.claim_token, sender.worker, nextval('beacon_claim_token')
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
        ORDER BY message.seq DESC LIMIT 1) AS ahead ON true
    WHERE $4::smallint IS NULL OR line.priority > $4 OR line.seq <= $5"""
"""$2 chats, $3 how many messages of each; where $4 is given only those that go before a message of that
priority and of the seq $5, whether the order is fair or not, and maybe some more."""

CLAIM: Final = f"""
    UPDATE beacon_message AS m
    SET state = 'sending', claim_token = claim.token, worker = claim.worker, claimed_at = claim.at
    FROM unnest($2::text::bigint[], $3::text::bigint[], $4::text[], $5::text::float8[])
        AS claim (seq, token, worker, at)
    WHERE m.seq = claim.seq AND m.state || '' = 'queued' AND m.account || '' = $1
    RETURNING {rows.columns("m")}"""  # noqa: S608
"""`transitions.claimed`, for many messages: $2 seqs, $3 tokens, $4 workers, $5 times."""

LATE: Final = f"{rows.SELECT} WHERE m.account || '' = $1 AND m.seq = $2"


@dataclass(slots=True)
class Take:
    """One call of QueueStore.claim."""

    worker: str
    fair: bool
    now: float


class Unserved(Exception):
    """There was too much to look at for one transaction: ask again."""


class _Entry(NamedTuple):
    """A message of a line, as far as that says whose turn it is."""

    seq: int
    priority: int
    is_queued: bool
    due_at: float
    expires_at: float
    ahead: tuple[int, int] | None
    """The message of the chat that is being sent before this one: its seq and its token."""


class _Given(NamedTuple):
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


async def take(transaction: Transaction, asked: Sequence[Take], answers: list[Any]) -> None:
    """Serve the claims in their order; all of one `fair`. Their answers are put behind those that are there:
    None, Unserved, or a Claim, which takes its place while the server ends the transaction."""
    first = len(answers)
    answers += [Unserved()] * len(asked)
    waiting, depth = list(range(len(asked))), 1 if len(asked) == 1 else FIRST_DEPTH
    stuck = False
    for turn in range(ROUNDS):
        if not waiting:
            break
        now = transaction.now
        if turn == 0:
            served = waiting
        elif stuck:  # every lane that is found is one that this claim may take from
            served, now = waiting[:1], asked[waiting[0]].now
        else:
            served = [at for at in waiting if asked[at].worker == asked[waiting[0]].worker]
        given = await _round(transaction, asked, served, depth=depth, now=now)
        stuck = not given
        await _write(transaction, {first + at: one for at, one in given.items()}, answers)
        waiting = [at for at in waiting if at not in given]
        depth = min(DEEP, depth * 2)


async def _round(
    transaction: Transaction, asked: Sequence[Take], served: list[int], *, depth: int, now: float
) -> dict[int, _Given | None]:
    """What is certain for some of those to be served."""
    await transaction.settle_lanes()
    fair = asked[served[0]].fair
    workers = list({asked[at].worker for at in served})
    picked = await _pick(transaction, workers, fair=fair, limit=len(served), now=now)
    if not picked:
        return dict.fromkeys(served)
    lines, tokens = await _read(transaction, picked, depth=depth, enough=len(picked) == len(served))
    given: dict[int, _Given | None] = {}
    hand = _Hand(lines, tokens, fair=fair, depth=depth, now=now)
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
    return given


async def _expire(transaction: Transaction, late: tuple[int, float]) -> None:
    seq, now = late
    for message in await transaction.messages(LATE, seq):
        transaction.save(transitions.expired(message, now=now), message)


async def _write(transaction: Transaction, given: Mapping[int, _Given | None], answers: list[Any]) -> None:
    """Write the claims, each of which will be the answer of that place."""
    new = {at: one for at, one in given.items() if one is not None}
    for at in given.keys() - new.keys():
        answers[at] = None
    if not new:
        return
    found = await transaction.fetch(
        CLAIM,
        rows.numbers([one.seq for one in new.values()]),
        rows.numbers([one.token for one in new.values()]),
        [one.asked.worker for one in new.values()],
        rows.numbers([one.asked.now for one in new.values()]),
    )
    if len(found) != len(new):
        raise Moved
    transaction.moves[State.QUEUED, State.SENDING] += len(new)

    def put_together() -> None:
        messages = {message.seq: message for message in map(rows.message, found)}
        for at, one in new.items():
            answers[at] = Claim(messages[one.seq], one.token, one.behind)

    transaction.at_the_end(put_together)


async def _pick(
    transaction: Transaction, workers: list[str], *, fair: bool, limit: int, now: float
) -> dict[str, tuple[int, int]]:
    """Lanes, which are held now, in the order that they are in: the priority and the seq of each."""
    query = PICK_FAIR if fair else PICK
    found = await transaction.fetch(query, workers, limit, now)
    if found and found[-1]["chat"] is None:
        await transaction.execute(PROMOTE, transaction.now)
        found = await transaction.fetch(query, workers, limit, now)
    picked = {chat: (priority, seq) for chat, priority, seq in found if chat is not None}
    transaction.holds(picked)
    return picked


async def _read(
    transaction: Transaction, picked: Mapping[str, tuple[int, int]], *, depth: int, enough: bool
) -> tuple[list[_Line], list[int]]:
    """The first messages of the lines, and tokens for them. Where the lanes are `enough` there is a head for
    each claim; so the second of a line matters only where it goes before the last of the heads."""
    last: tuple[int, int] | tuple[None, None] = (None, None)
    if enough and depth == FIRST_DEPTH:
        last = min(priority for priority, _ in picked.values()), max(seq for _, seq in picked.values())
    lines: dict[str, _Line] = {}
    tokens: list[int] = []
    for row in await transaction.fetch(LINES, list(picked), depth, *last):
        chat, seq, priority, is_queued, due_at, expires_at, ahead_seq, ahead_token, sender, token = row
        line = lines.get(chat)
        if line is None:
            line = lines[chat] = _Line([], sender)
        ahead = None if ahead_seq is None else (ahead_seq, ahead_token)
        line.entries.append(_Entry(seq, priority, is_queued, due_at, expires_at, ahead))
        tokens.append(token)
    for line in lines.values():
        if len(line.entries) > 1:
            line.entries.sort()
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

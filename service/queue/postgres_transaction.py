"""One transaction of PostgreSQL: what was read and changed in it, written in few statements.

Locks, in this order, so that transactions of several processes rarely wait in a circle (PostgreSQL breaks
one when they do, and it is tried again): early receipts, then lanes by chat, then rows. Who moves a message
into its chat's line or out of it holds the chat's lane until the commit; so what is read of a line under that
lock stays true. What was read without it is checked again when it is written.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence, Set
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, TypeVar

import asyncpg

from service.queue import postgres_rows as rows
from service.queue.model import Message, Moves, State

S = TypeVar("S")
T = TypeVar("T")

IN_LINE: Final = frozenset({State.QUEUED, State.UNKNOWN})

_RECEIPT_LOCKS: Final = 64
"""How many locks an account's WhatsApp ids share: the server has room for a few thousand locks in all."""

_LOCK: Final = """
    INSERT INTO beacon_lane (account, chat, seq, priority, turn, due_at)
    SELECT $1, chat, 0, 0, 'locked', 0 FROM unnest($2::text[]) AS chat ORDER BY chat COLLATE "C"
    ON CONFLICT (account, chat) DO UPDATE SET chat = excluded.chat"""

_HEADS: Final = """
    head AS MATERIALIZED (
        SELECT touched.chat, line.seq, line.priority, line.state,
               least(line.due_at, line.expires_at) AS at, line.due_at
        FROM unnest($2::text[]) AS touched (chat)
        LEFT JOIN LATERAL (
            SELECT seq, priority, state, due_at, expires_at FROM beacon_message
            WHERE account = $1 AND chat = touched.chat AND state IN ('queued', 'unknown')
            ORDER BY seq LIMIT 1) AS line ON true
    ), closed AS (
        DELETE FROM beacon_lane USING head
        WHERE beacon_lane.account = $1 AND beacon_lane.chat = head.chat AND head.seq IS NULL
    )"""
_LANES: Final = """
    UPDATE beacon_lane AS lane
    SET seq = head.seq, priority = head.priority,
        turn = CASE WHEN state = 'unknown' THEN 'blocked' WHEN at <= $3 THEN 'ready' ELSE 'waiting' END,
        due_at = CASE WHEN state = 'unknown' THEN head.due_at ELSE at END
    FROM head WHERE lane.account = $1 AND lane.chat = head.chat AND head.seq IS NOT NULL"""
_SETTLE_LANES: Final = f"WITH {_HEADS} {_LANES}"
"""All these lanes are held. A head that has expired is ready, for the next claim to move it away."""

STATES: Final = tuple(State)
_NAMES: Final = ", ".join(STATES)
_NUMBERS: Final = f"""
    SELECT {", ".join(f"coalesce(sum({state}), 0)::bigint AS {state}" for state in STATES)},
           (SELECT accepted_at FROM beacon_message WHERE account || ' ' || state = $1 || ' queued'
            ORDER BY seq LIMIT 1) AS oldest,
           txid_current_if_assigned() AS txid
    FROM beacon_tally WHERE account = $1"""  # noqa: S608


def _mine(first: int) -> str:
    return f"""
    mine AS (
        INSERT INTO beacon_tally AS tally (account, shard, {_NAMES})
        VALUES ($1, {", ".join(f"${at}" for at in range(first, first + 1 + len(STATES)))})
        ON CONFLICT (account, shard) DO UPDATE
        SET {", ".join(f"{state} = tally.{state} + excluded.{state}" for state in STATES)})"""  # noqa: S608


def _met(first: int) -> str:
    return f"""
    met AS (
        INSERT INTO beacon_acquaintance AS known (account, chat, first_sent_at)
        SELECT $1, chat, at FROM unnest(${first}::text[], ${first + 1}::text::float8[]) AS new (chat, at)
        ORDER BY chat
        ON CONFLICT (account, chat) DO UPDATE SET first_sent_at = excluded.first_sent_at
        WHERE known.first_sent_at IS NULL OR known.first_sent_at > excluded.first_sent_at)"""  # noqa: S608


class Moved(Exception):
    """Another process changed a row in between: begin anew."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The queue as a transaction leaves it."""

    counts: Counter[State]
    oldest_queued_at: float | None
    txid: int | None


@dataclass(frozen=True, slots=True)
class Committed:
    """What a transaction changed, and how the queue stands after it. `txid` is None when it wrote nothing."""

    moves: Moves
    counts: Counter[State]
    oldest_queued_at: float | None
    txid: int | None


class Transaction:
    """What is done between BEGIN and COMMIT, which are the caller's. `now` decides which heads are due."""

    def __init__(
        self, connection: asyncpg.Connection, *, account: str, shard: int, now: float, acquainted: Set[str]
    ) -> None:
        """The chats in `acquainted` are known to be acquainted with."""
        self._connection = connection
        self._acquainted = acquainted
        self.account = account
        self.now = now
        self.moves: Counter[tuple[State | None, State | None]] = Counter()
        self.met: dict[str, float] = {}
        """Chats where something was sent, and when."""
        self.introduced: set[str] = set()
        """Those of them that were remembered by the statement that moved their messages."""
        self.shard = shard
        self.seen: Seen | None = None
        """If nothing was changed since this is how it is."""
        self._tallied: Counter[tuple[State | None, State | None]] = Counter()
        self._pending: dict[int, tuple[Message, Message]] = {}
        self._touched: set[str] = set()
        self._locked: set[str] = set()

    async def fetch(self, query: str, *values: Any) -> list[asyncpg.Record]:
        """Rows, the account being $1."""
        return await self._connection.fetch(query, self.account, *values)

    async def execute(self, query: str, *values: Any) -> int:
        """How many rows it changed, the account being $1."""
        return int((await self._connection.execute(query, self.account, *values)).split()[-1])

    async def messages(self, query: str, *values: Any) -> list[Message]:
        """Messages, the account being $1."""
        return [rows.message(row) for row in await self.fetch(query, *values)]

    # --- lanes ------------------------------------------------------------------------------------

    async def lock(self, chats: Iterable[str]) -> None:
        """Hold these chats' lanes until the commit; they are settled before it."""
        missing = set(chats) - self._locked
        if missing:
            await self.execute(_LOCK, sorted(missing))
            self._locked |= missing
            self._touched |= missing

    def holds(self, chats: Iterable[str]) -> None:
        """These lanes were locked by the statement that found them."""
        self._locked.update(chats)

    def touch(self, chats: Iterable[str]) -> None:
        """The lines of these chats have changed."""
        self._touched.update(chats)

    async def settle_lanes(self) -> None:
        """Write what was saved, and let every lane that is concerned name its chat's head."""
        if touched := await self._lanes_to_settle():
            await self.execute(_SETTLE_LANES, touched, self.now)
            self._locked.difference_update(touched)  # a lane without messages is gone, and cannot be held

    async def _lanes_to_settle(self) -> list[str]:
        await self.flush()
        await self.lock(self._touched)
        touched = sorted(self._touched)
        self._touched.clear()
        return touched

    def counted(self, moved: Moves, seen: Seen) -> None:
        """So many were moved by a statement that also settled the lanes and the tally; then it was `seen`."""
        for pair, messages in moved.items():
            if messages:
                self.moves[pair] += messages
                self._tallied[pair] += messages
        self.seen = seen

    # --- messages ---------------------------------------------------------------------------------

    def save(self, after: Message, before: Message) -> Message:
        """Change a message that was read in this transaction."""
        first, _ = self._pending.get(before.seq, (before, after))
        self._pending[before.seq] = (first, after)
        self._count(after, before)
        return after

    def _count(self, after: Message, before: Message) -> None:
        if after.state is not before.state:
            self.moves[before.state, after.state] += 1
            if before.state in IN_LINE or after.state in IN_LINE:
                self._touched.add(after.chat)

    async def insert(self, messages: Sequence[Message]) -> dict[str, int]:
        """Keep them, in this order; each one's seq by its id, of those that were not kept already."""
        kept = {row["id"]: row["seq"] for row in await self.fetch(rows.INSERT, *rows.inserted(messages))}
        for message in messages:
            if message.id in kept:
                self.moves[None, message.state] += 1
                if message.state in IN_LINE:
                    self._touched.add(message.chat)
        return kept

    async def flush(self) -> None:
        """Write what was saved. Raises Moved."""
        if self._pending:
            changes, self._pending = list(self._pending.values()), {}
            if len(await self._update(changes)) != len(changes):
                raise Moved

    async def try_save(
        self, changes: Sequence[tuple[Message, Message]], *, unless_receipt: Sequence[str | None]
    ) -> set[int]:
        """Change messages, from what they are believed to be; the seqs of those that were just that and for
        whose WhatsApp id no receipt came early. The others are as they were."""
        changed = await self._update(changes, unless_receipt=unless_receipt)
        for before, after in changes:
            if before.seq in changed:
                self._count(after, before)
        return changed

    async def _update(
        self,
        changes: Sequence[tuple[Message, Message]],
        *,
        unless_receipt: Sequence[str | None] | None = None,
    ) -> set[int]:
        statement, values = rows.update(changes, unless_receipt=unless_receipt)
        return {row["seq"] for row in await self.fetch(statement, *values)}

    # --- the end ----------------------------------------------------------------------------------

    def strangers(self, met: Iterable[tuple[str, float]]) -> dict[str, float]:
        """The chats that are to be remembered as acquainted with, and since when: the first time given."""
        new: dict[str, float] = {}
        for chat, at in met:
            if chat not in self._acquainted and chat not in self.introduced:
                new.setdefault(chat, at)
        return new

    async def finish(self) -> Committed:
        """Write everything that is left; what to tell once it is committed."""
        touched = await self._lanes_to_settle()
        met = self.strangers(self.met.items())
        if touched or met or self.moves != self._tallied or self.seen is None:
            seen = await self._end(touched, met)
        else:
            seen = self.seen
        return Committed(dict(self.moves), seen.counts, seen.oldest_queued_at, seen.txid)

    async def _end(self, touched: list[str], met: dict[str, float]) -> Seen:
        """All that is left is one statement. The sums that it reads are as they were before it."""
        change: Counter[State] = Counter()
        for (before, after), messages in (self.moves - self._tallied).items():
            if before is not None:
                change[before] -= messages
            if after is not None:
                change[after] += messages
        parts: list[str] = []
        values: list[Any] = []
        if touched:
            parts.append(f"{_HEADS}, settled AS ({_LANES})")
            values += [touched, self.now]
        if met:
            parts.append(_met(2 + len(values)))
            values += [list(met), rows.numbers(met.values())]
        if touched or change:
            parts.append(_mine(2 + len(values)))
            values += [self.shard, *(change[state] for state in STATES)]
        beside = f"WITH {', '.join(parts)}" if parts else ""
        (row,) = await self.fetch(f"{beside} {_NUMBERS}", *values)
        counts = Counter({state: row[state] + change[state] for state in STATES})
        return Seen(counts, row["oldest"], row["txid"])


async def meanwhile(asked: Coroutine[Any, Any, S], work: Callable[[], T]) -> tuple[S, T]:
    """The answer of the server, and what was worked out here while it was at it."""
    answer = asyncio.create_task(asked)
    try:
        await asyncio.sleep(0)  # it is sent
        worked_out = work()
        return await answer, worked_out
    finally:
        if not answer.done():
            answer.cancel()
            await asyncio.wait({answer})


def receipt_locks(account: str, whatsapp_ids: Iterable[str]) -> list[int]:
    """Advisory locks to hold, in this order, before a receipt or a send of such an id is looked at: a receipt
    must either find the message or be found by it."""
    base = _hash(account)
    return sorted({base - base % _RECEIPT_LOCKS + _hash(id_) % _RECEIPT_LOCKS for id_ in whatsapp_ids})


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), signed=True)

"""What the queue does inside one SQLite transaction. Every statement finds its rows by an index."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from service.queue import sqlite_claim, sqlite_search, transitions
from service.queue import sqlite_rows as rows
from service.queue.making import made, new_secret
from service.queue.model import (
    RETENTION_S,
    Claim,
    Enqueued,
    Message,
    Moves,
    NewMessage,
    Page,
    Query,
    Receipted,
    SendResult,
    State,
)
from service.queue.sqlite_claim import BATCH
from service.queue.sqlite_files import Files
from service.queue.sqlite_messages import Messages
from service.queue.sqlite_pacing import Pacing

EARLY_RECEIPT_S: Final = 3600.0
_BY_ID: Final = f"{rows.SELECT} WHERE account = ? AND id = ?"
_BY_SEQ: Final = f"{rows.SELECT} WHERE seq = ?"
_BY_KEY: Final = f"{rows.SELECT} WHERE account = ? AND idempotency_key = ?"
_BY_WHATSAPP_ID: Final = f"{rows.SELECT} WHERE account = ? AND whatsapp_id = ?"
_ORPHANS: Final = f"""{rows.SELECT} INDEXED BY message_sending
    WHERE account = ? AND state = 'sending' AND worker <> ? ORDER BY chat, seq"""
_UNKNOWNS: Final = f"""{rows.SELECT} INDEXED BY message_state
    WHERE account = ? AND state = 'unknown' AND state <> 'sending' ORDER BY seq"""
_EXPIRED: Final = f"""{rows.SELECT} INDEXED BY message_expiry
    WHERE account = ? AND state = 'queued' AND expires_at <= ? LIMIT {BATCH}"""
_OLDEST: Final = """
    SELECT accepted_at FROM message INDEXED BY message_state
    WHERE account = ? AND state = 'queued' AND state <> 'sending' ORDER BY seq LIMIT 1"""
_FORGET: Final = f"""
    DELETE FROM message WHERE seq IN (
        SELECT seq FROM message WHERE account = ? AND state = ? AND finished_at <= ? LIMIT {BATCH})
    RETURNING file"""  # noqa: S608
_DEAD: Final = f"""{rows.SELECT} INDEXED BY message_state
    WHERE account = ? AND state = 'dead' AND state <> 'sending' AND seq > ? ORDER BY seq LIMIT {BATCH}"""

_WAITING: Final = """
    SELECT due_at FROM lane WHERE account = ? AND turn = 'waiting' ORDER BY due_at LIMIT 1"""

_CLAIMS_AFTER: Final = """
    INSERT INTO claim_counter (account, token) VALUES (?, ?)
    ON CONFLICT DO UPDATE SET token = max(token, excluded.token)"""
_TALLY_OPEN: Final = "INSERT INTO tally (account, state, messages) VALUES (?, ?, 0) ON CONFLICT DO NOTHING"
_TALLY: Final = "UPDATE tally SET messages = messages + ? WHERE account = ? AND state = ?"
_TALLIES: Final = "SELECT state, messages FROM tally WHERE account = ?"

_EARLY: Final = "SELECT state, at FROM early_receipt WHERE account = ? AND whatsapp_id = ?"
_EARLY_KEEP: Final = (
    "INSERT OR REPLACE INTO early_receipt (account, whatsapp_id, state, at, kept_at) VALUES (?, ?, ?, ?, ?)"
)
_EARLY_TAKEN: Final = "DELETE FROM early_receipt WHERE account = ? AND whatsapp_id = ?"
_EARLY_FORGET: Final = "DELETE FROM early_receipt WHERE account = ? AND kept_at <= ?"


@dataclass(frozen=True, slots=True)
class Committed:
    """What one commit changed, and how the queue stands after it."""

    moves: Moves
    oldest_queued_at: float | None


class Transaction:
    """The operations on one account's queue. The caller begins, commits and rolls back, and tells.

    `files` and `pacing` are what is kept beside the messages.
    """

    def __init__(self, connection: sqlite3.Connection, account: str) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._execute_many = connection.executemany
        self._account = account
        self._messages = Messages(connection, account)
        self._save = self._messages.save
        self._one, self._many = self._messages.one, self._messages.many
        self.moves = self._messages.moves
        self._tally_is_open = False
        self.files = Files(connection, account)
        self.pacing = Pacing(connection, account)

    # --- callers ----------------------------------------------------------------------------------

    def enqueue(self, messages: Sequence[NewMessage], *, now: float) -> list[Enqueued]:
        """See QueueStore.enqueue."""
        return [self._enqueue(message, now=now) for message in messages]

    def get(self, message_id: str) -> Message | None:
        """See QueueStore.get."""
        return self._one(_BY_ID, (self._account, message_id))

    def _enqueue(self, new: NewMessage, *, now: float) -> Enqueued:
        first = self._of_key(new.idempotency_key)
        if first is not None:
            return Enqueued(first, created=False)
        return Enqueued(self._messages.insert(made(new, now=now), now=now), created=True)

    def adopt(self, messages: Iterable[Message], *, now: float) -> int:
        """See QueueStore.adopt."""
        adopted = [
            self._messages.insert(message, now=now)
            for message in messages
            if self.get(message.id) is None and self._of_key(message.idempotency_key) is None
        ]
        last = max((message.claim_token or 0 for message in adopted), default=0)
        self._execute(_CLAIMS_AFTER, (self._account, last))
        return len(adopted)

    def _of_key(self, idempotency_key: str | None) -> Message | None:
        return None if idempotency_key is None else self._one(_BY_KEY, (self._account, idempotency_key))

    def find(self, query: Query) -> Page:
        """See QueueStore.find."""
        return sqlite_search.find(self._connection, self._account, query)

    # --- by hand ----------------------------------------------------------------------------------

    def cancel(self, message_id: str, *, now: float) -> Message | None:
        """See QueueStore.cancel."""
        before = self.get(message_id)
        return before and self._changed(transitions.cancelled(before, now=now), before, now=now)

    def hold(self, message_id: str, *, now: float) -> Message | None:
        """See QueueStore.hold."""
        before = self.get(message_id)
        return before and self._changed(transitions.held(before, now=now), before, now=now)

    def requeue(self, message_id: str, *, now: float) -> Message | None:
        """See QueueStore.requeue."""
        before = self.get(message_id)
        return before and self._requeue(before, now=now)

    def requeue_dead(self, *, after: int, now: float) -> tuple[int, int]:
        """At most `BATCH` of what QueueStore.requeue_dead moves, those of a seq above `after`; how many, and
        the seq of the last."""
        dead = self._many(_DEAD, (self._account, after))
        for message in dead:
            self._requeue(message, now=now)
        return len(dead), dead[-1].seq if dead else after

    def resend(self, whatsapp_id: str, *, now: float) -> Message | None:
        """See QueueStore.resend."""
        before = self._one(_BY_WHATSAPP_ID, (self._account, whatsapp_id))
        return before and self._changed(
            transitions.resent(before, secret=new_secret(), now=now), before, now=now
        )

    def _requeue(self, before: Message, *, now: float) -> Message:
        return self._changed(transitions.requeued(before, secret=new_secret(), now=now), before, now=now)

    def _changed(self, after: Message | None, before: Message, *, now: float) -> Message:
        return before if after is None else self._save(after, before, now=now)

    # --- worker -----------------------------------------------------------------------------------

    def claim(self, *, worker: str, now: float, limit: int, fair: bool) -> tuple[list[Claim], bool]:
        """See QueueStore.claim. The second value tells that there is more to look at: call again if there was
        none."""
        return sqlite_claim.take(self._messages, worker=worker, now=now, limit=limit, fair=fair)

    def complete(self, claim: Claim, *, whatsapp_id: str, now: float) -> Message:
        """See QueueStore.complete."""
        self.pacing.sent(claim.message.chat, at=now)
        if claim.message.state is State.SENDING:
            after = transitions.completed(claim.message, whatsapp_id=whatsapp_id, receipt=None, now=now)
            if self._execute(rows.COMPLETE, rows.complete(after, claim, self._account)).rowcount:
                self.moves[State.SENDING, State.SENT] += 1
                return after
        before = self._held(claim)
        receipt = self._take_early(whatsapp_id)
        after = transitions.completed(before, whatsapp_id=whatsapp_id, receipt=receipt, now=now)
        return self._save(after, before, now=now)

    def release(self, claim: Claim, *, now: float) -> Message:
        """See QueueStore.release."""
        before = self._held(claim)
        return self._save(transitions.released(before, now=now), before, now=now)

    def postpone(self, claim: Claim, *, until: float, now: float) -> Message:
        """See QueueStore.postpone."""
        before = self._held(claim)
        return self._save(transitions.postponed(before, until=until, now=now), before, now=now)

    def fail(
        self, claim: Claim, *, result: SendResult, error: str, retry_at: float | None, now: float
    ) -> Message:
        """See QueueStore.fail."""
        before = self._held(claim)
        after = transitions.failed(
            before, result=result, error=error, retry_at=retry_at, secret=new_secret(), now=now
        )
        return self._save(after, before, now=now)

    def mark_unknown(self, claim: Claim, *, whatsapp_id: str | None, error: str, now: float) -> Message:
        """See QueueStore.mark_unknown."""
        before = self._held(claim)
        receipt = None if whatsapp_id is None else self._take_early(whatsapp_id)
        after = transitions.unknown(before, whatsapp_id=whatsapp_id, error=error, receipt=receipt, now=now)
        return self._save(after, before, now=now)

    def orphans(self, *, worker: str) -> list[Claim]:
        """See QueueStore.orphans."""
        found = self._many(_ORPHANS, (self._account, worker))
        return [Claim(message, message.claim_token or 0, behind=None) for message in found]

    def unknowns(self) -> list[Message]:
        """See QueueStore.unknowns."""
        return self._many(_UNKNOWNS, (self._account,))

    def resolve_unknown(self, message_id: str, *, now: float) -> Message | None:
        """See QueueStore.resolve_unknown."""
        before = self.get(message_id)
        if before is None or before.state is not State.UNKNOWN:
            return before
        return self._save(transitions.resolved(before, secret=new_secret(), now=now), before, now=now)

    def _held(self, claim: Claim) -> Message:
        return transitions.held_by(self._one(_BY_SEQ, (claim.message.seq,)), claim)

    # --- receipts ---------------------------------------------------------------------------------

    def receive(self, whatsapp_ids: Sequence[str], *, state: State, at: float, now: float) -> list[Receipted]:
        """See QueueStore.receive."""
        moved = []
        for whatsapp_id in whatsapp_ids:
            before = self._one(_BY_WHATSAPP_ID, (self._account, whatsapp_id))
            if before is None:
                self._remember(whatsapp_id, state, at=at, now=now)
            elif (after := transitions.received(before, state, at=at, now=now)) is not None:
                self._execute(rows.RECEIVE, rows.receive(after))
                self._messages.moved(after, before, now=now)
                moved.append(Receipted(after, before.state))
        return moved

    def _remember(self, whatsapp_id: str, state: State, *, at: float, now: float) -> None:
        if transitions.further(self._early(whatsapp_id), state):
            self._execute(_EARLY_KEEP, (self._account, whatsapp_id, state.value, at, now))

    def _early(self, whatsapp_id: str) -> tuple[State, float] | None:
        row = self._execute(_EARLY, (self._account, whatsapp_id)).fetchone()
        return None if row is None else (State(row[0]), row[1])

    def _take_early(self, whatsapp_id: str) -> tuple[State, float] | None:
        receipt = self._early(whatsapp_id)
        if receipt is not None:
            self._execute(_EARLY_TAKEN, (self._account, whatsapp_id))
        return receipt

    # --- time -------------------------------------------------------------------------------------

    def expire(self, *, now: float) -> int:
        """At most `BATCH` of what QueueStore.expire moves; how many."""
        found = self._many(_EXPIRED, (self._account, now))
        for message in found:
            self._save(transitions.expired(message, now=now), message, now=now)
        return len(found)

    def prune(self, *, now: float) -> int:
        """At most `BATCH` of each state of what QueueStore.prune forgets; how many messages."""
        self._execute(_EARLY_FORGET, (self._account, now - EARLY_RECEIPT_S))
        forgotten = 0
        for state, kept_s in RETENTION_S.items():
            gone = self._execute(_FORGET, (self._account, state.value, now - kept_s)).fetchall()
            self.files.unnamed(file for (file,) in gone if file is not None)
            self.moves[state, None] += len(gone)
            forgotten += len(gone)
        return forgotten

    def next_due(self) -> float | None:
        """See QueueStore.next_due."""
        row = self._execute(_WAITING, (self._account,)).fetchone()
        return None if row is None else float(row[0])

    # --- numbers ----------------------------------------------------------------------------------

    def tallies(self) -> Counter[State]:
        """Messages by state, as far as the tally has been written."""
        return Counter({State(state): n for state, n in self._execute(_TALLIES, (self._account,))})

    def oldest_queued_at(self) -> float | None:
        """See QueueStore.oldest_queued_at."""
        row = self._execute(_OLDEST, (self._account,)).fetchone()
        return None if row is None else float(row[0])

    # --- begin and end ----------------------------------------------------------------------------

    def finish(self) -> Committed | None:
        """Write what is written once for all operations; what the commit will change, if anything."""
        self.pacing.flush()
        moves = {move: messages for move, messages in self.moves.items() if messages}
        if not moves:
            return None
        self._write_tally(moves)
        return Committed(moves, self.oldest_queued_at())

    def _write_tally(self, moves: Moves) -> None:
        if not self._tally_is_open:
            self._execute_many(_TALLY_OPEN, [(self._account, str(state)) for state in State])
            self._tally_is_open = True
        change: Counter[State] = Counter()
        for (before, after), messages in moves.items():
            if before is not None:
                change[before] -= messages
            if after is not None:
                change[after] += messages
        self._execute_many(
            _TALLY, [(messages, self._account, str(state)) for state, messages in change.items() if messages]
        )

    def ended(self, *, kept: bool) -> None:
        """The caller has committed, or rolled back."""
        self._tally_is_open &= kept
        self.moves.clear()
        self.pacing.ended(kept=kept)

"""A COMMIT that was never answered: did it happen, and what to do when its callers were told otherwise.

PostgreSQL knows the fate of every recent transaction by its number (`txid_status`), so after a reconnect it
is asked instead of guessed. Only when it cannot be asked within the callers' deadline they are told that the
store is unavailable; if the commit turns out to have happened, what they believe is then made true: messages
that were refused are taken out again as long as nobody has claimed them, claims that nobody got are released,
and an outcome that is written once more is recognised.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from service.queue import postgres_changes as changes
from service.queue import transitions
from service.queue.model import Claim, Enqueued, Message, State
from service.queue.postgres_claim import Taken
from service.queue.postgres_operations import Operation
from service.queue.postgres_settle import Settle
from service.queue.postgres_transaction import Committed, Transaction

_STATUS: Final = "SELECT txid_status($1)"
_END: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE backend_xid::text = ($1::bigint % 4294967296)::text"""
_REMOVE: Final = """
    DELETE FROM beacon_message AS m USING unnest($2::bigint[]) AS gone (seq)
    WHERE m.seq = gone.seq AND m.account || '' = $1"""


@dataclass(slots=True)
class Doubt:
    """A transaction whose COMMIT was sent and not answered."""

    txid: int
    operations: Sequence[Operation]
    answers: Sequence[Any]
    committed: Committed
    told: bool = field(default=False)
    """Its callers were told that the store is unavailable."""

    async def took(self, connection: asyncpg.Connection) -> bool | None:
        """Whether it was committed; None while the server still works on it, which is cut short: the
        connection that it came by is gone. Raises what asyncpg raises."""
        try:
            status = await connection.fetchval(_STATUS, self.txid)
        except asyncpg.InvalidParameterValueError:
            return False  # a number that this server has not given yet: it is a copy from before
        if status == "in progress":
            await connection.execute(_END, self.txid)
            return None
        return bool(status == "committed")

    def settled(self) -> dict[int, Message]:
        """Outcomes that will be reported again, by the token of their claim."""
        return {
            operation.claim.token: answer
            for operation, answer in zip(self.operations, self.answers, strict=True)
            if isinstance(operation, Settle) and isinstance(answer, Message)
        }

    async def undo(self, transaction: Transaction) -> None:
        """Take back what its callers cannot know of."""
        claims = [c for answer in self.answers if isinstance(answer, Taken) for c in answer.claims()]
        new = [
            one.message
            for answer in self.answers
            if isinstance(answer, list)
            for one in answer
            if isinstance(one, Enqueued) and one.created
        ]
        await undo(transaction, claims=claims, new=new)


async def undo(
    transaction: Transaction, *, claims: Sequence[Claim] = (), new: Sequence[Message] = ()
) -> None:
    """Release these claims and take out these new messages, where nothing has happened to them since."""
    messages = [*(claim.message for claim in claims), *new]
    if not messages:
        return
    tokens = {claim.token for claim in claims}
    fresh = {message.id for message in new}
    removed = []
    for message in await changes.locked(transaction, ((m.seq, m.chat) for m in messages)):
        if message.claim_token in tokens:
            released = transitions.released(message, now=transaction.now)
            transaction.save(released, message)
        elif message.id in fresh and message.state is State.QUEUED:
            removed.append(message.seq)
    await transaction.flush()
    if removed:
        transaction.moves[State.QUEUED, None] += await transaction.execute(_REMOVE, removed)

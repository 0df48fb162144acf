"""The most frequent mixture, completions and then claims, in one call of the server.

`beacon_turn` (sql/postgres/0004_turn.sql) does it as far as nothing is special: no receipt came early, no
claim was lost, no head has expired. What it leaves undone is done with the statements of `postgres_settle`,
and by asking it again.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

from service.queue import postgres_rows as rows
from service.queue.model import Message, Moves, State
from service.queue.postgres_claim import Handout, Take
from service.queue.postgres_settle import Settle
from service.queue.postgres_transaction import STATES, Seen, Transaction, meanwhile, receipt_locks

TURN: Final = f"""
    SELECT {rows.columns("turn")}, token, behind, ended, late, done, counts, oldest, txid
    FROM beacon_turn($1, $2, $3, $4::text::bigint[], $5::text::bigint[], $6::text::bigint[], $7,
                     $8::text::float8[], $9, $10::text::float8[], $11, $12, $13::text::float8[])
         AS turn"""  # noqa: S608

ROUNDS: Final = 32
"""Most times that one transaction looks for claims, so that none takes long."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Completions of messages that are as they were claimed, each of another, and claims of one worker."""

    settles: Sequence[Settle]
    takes: Sequence[Take]
    values: Sequence[Any] = ("{}", "{}", "{}", (), "{}")
    """What the server is told of the completions."""

    def prepared(self, account: str) -> "Turn":
        """With its values: they take a while, in which the server can begin."""
        ids = [one.whatsapp_id for one in self.settles]
        values = (
            rows.numbers(receipt_locks(account, (id_ for id_ in ids if id_ is not None))),
            rows.numbers(one.claim.message.seq for one in self.settles),
            rows.numbers(one.claim.token for one in self.settles),
            ids,
            rows.numbers(one.now for one in self.settles),
        )
        return Turn(self.settles, self.takes, values)


NOTHING: Final = Turn((), ())


def turn_of(operations: Sequence[Any]) -> Turn | None:
    """These operations, if they are what a turn does."""
    settles = list(takewhile(lambda one: isinstance(one, Settle), operations))
    takes = operations[len(settles) :]
    seqs = {one.claim.message.seq for one in settles if one.stays_out_of_line and one.is_believed}
    if len(seqs) < len(settles) or not all(isinstance(one, Take) for one in takes):
        return None
    if len({(one.worker, one.fair) for one in takes}) > 1:
        return None
    return Turn(settles, takes)


async def do_turn(transaction: Transaction, turn: Turn, handout: Handout) -> dict[int, Message]:
    """What became of the completions, by place, as far as they are done; the claims are handed out as far as
    they are certain."""
    places = handout.next()
    settles = turn.settles
    met = transaction.strangers((one.claim.message.chat, one.now) for one in settles)
    asked = transaction.fetch(
        TURN,
        transaction.shard,
        transaction.now,
        *turn.values,
        *handout.call(places),
        list(met),
        rows.numbers(met.values()),
    )
    (*given, last), afters = await meanwhile(
        asked, lambda: [one.how(one.claim.message, None) for one in settles]
    )
    done = set(last["done"] or ())
    if len(done) == len(settles):
        transaction.introduced |= met.keys()
    handout.give(places, given)
    moved: Moves = {(State.SENDING, State.SENT): len(done), (State.QUEUED, State.SENDING): len(given)}
    counts = Counter(dict(zip(STATES, (count or 0 for count in last["counts"]), strict=True)))
    transaction.counted(moved, Seen(counts, last["oldest"], last["txid"]))
    await handout.follow(transaction, places, len(given), last)
    return {at: after for at, after in enumerate(afters) if after.seq in done}


async def take(transaction: Transaction, handout: Handout) -> None:
    """Serve what is left of these claims, in their order."""
    for _ in range(ROUNDS):
        if not handout.next():
            return
        await transaction.settle_lanes()
        await do_turn(transaction, NOTHING, handout)

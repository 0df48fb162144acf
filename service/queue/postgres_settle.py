"""Outcomes of claims in PostgreSQL: a message that is still as it was claimed need not be read again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from service.errors import ClaimLost
from service.queue import postgres_rows as rows
from service.queue import transitions
from service.queue.model import Claim, Message, State
from service.queue.postgres_transaction import Transaction

Receipt: TypeAlias = tuple[State, float]

_HELD: Final = f"""
    SELECT {rows.columns("m")},
           early.whatsapp_id AS early_id, early.state AS early_state, early.at AS early_at
    FROM unnest($2::text::bigint[], $3::text[]) AS claim (seq, whatsapp_id)
    JOIN beacon_message AS m ON m.seq = claim.seq AND m.account || '' = $1
    LEFT JOIN beacon_early_receipt AS early
        ON early.account = $1 AND early.whatsapp_id = claim.whatsapp_id
    FOR UPDATE OF m"""  # noqa: S608
_EARLY_TAKEN: Final = """
    DELETE FROM beacon_early_receipt WHERE account = $1 AND whatsapp_id = ANY ($2::text[])"""


@dataclass(slots=True)
class Settle:
    """One call that settles a claim: what it makes of the message and of a receipt that came first."""

    claim: Claim
    how: Callable[[Message, Receipt | None], Message]
    now: float
    whatsapp_id: str | None = None
    stays_out_of_line: bool = False

    @property
    def is_believed(self) -> bool:
        """The claim's message was not changed in between, as far as is known here."""
        return (
            self.claim.message.state is State.SENDING and self.claim.message.claim_token == self.claim.token
        )


async def settle(
    transaction: Transaction, operations: Sequence[Settle], settled: Mapping[int, Message]
) -> list[Message | ClaimLost]:
    """An answer for each; `settled` as in `perform`."""
    return await settle_rest(transaction, operations, await _unread(transaction, operations), settled)


async def settle_rest(
    transaction: Transaction,
    operations: Sequence[Settle],
    done: Mapping[int, Message],
    settled: Mapping[int, Message],
) -> list[Message | ClaimLost]:
    """An answer for each; those that are `done`, by place, have theirs."""
    answers: dict[int, Message | ClaimLost] = dict(done)
    left = [at for at in range(len(operations)) if at not in answers]
    if left:
        read = await _read(transaction, [operations[at] for at in left], settled)
        answers.update(zip(left, read, strict=True))
    for at, answer in answers.items():
        if operations[at].stays_out_of_line and isinstance(answer, Message):
            transaction.met.setdefault(answer.chat, operations[at].now)
    return [answers[at] for at in range(len(operations))]


async def _unread(transaction: Transaction, operations: Sequence[Settle]) -> dict[int, Message]:
    """The answers, by place, of those of which nothing has happened since the claim."""
    first: dict[int, int] = {}
    for at, operation in enumerate(operations):
        first.setdefault(operation.claim.message.seq, at)
    places = [at for at in first.values() if operations[at].is_believed]
    if not places:
        return {}
    chosen = [operations[at] for at in places]
    afters = [one.how(one.claim.message, None) for one in chosen]
    changes = [(one.claim.message, after) for one, after in zip(chosen, afters, strict=True)]
    done = await transaction.try_save(changes, unless_receipt=[one.whatsapp_id for one in chosen])
    return {at: after for at, after in zip(places, afters, strict=True) if after.seq in done}


async def _read(
    transaction: Transaction, operations: Sequence[Settle], settled: Mapping[int, Message]
) -> list[Message | ClaimLost]:
    found = await transaction.fetch(
        _HELD,
        rows.numbers(operation.claim.message.seq for operation in operations),
        [operation.whatsapp_id for operation in operations],
    )
    held = {message.seq: message for message in map(rows.message, found)}
    early = {
        row["early_id"]: (State(row["early_state"]), row["early_at"]) for row in found if row["early_id"]
    }
    taken: list[str] = []
    answers: list[Message | ClaimLost] = []
    for operation in operations:
        claim = operation.claim
        try:
            before = transitions.held_by(held.get(claim.message.seq), claim)
        except ClaimLost as lost:
            answers.append(settled.get(claim.token, lost))
            continue
        receipt = early.pop(operation.whatsapp_id, None)
        if receipt is not None and operation.whatsapp_id is not None:
            taken.append(operation.whatsapp_id)
        after = transaction.save(operation.how(before, receipt), before)
        held[after.seq] = after
        answers.append(after)
    if taken:
        await transaction.execute(_EARLY_TAKEN, taken)
    return answers

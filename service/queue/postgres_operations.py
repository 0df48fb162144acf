"""What the queue does in one transaction of PostgreSQL, the same kind of operation many at once."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final, TypeAlias

from service.errors import ClaimLost
from service.queue import postgres_rows as rows
from service.queue import transitions
from service.queue.model import Claim, Enqueued, Message, Receipted, State
from service.queue.postgres_claim import Take, take
from service.queue.postgres_transaction import Moved, Transaction, meanwhile

Receipt: TypeAlias = tuple[State, float]

_BY_KEY: Final = f"{rows.SELECT} WHERE m.account = $1 AND m.idempotency_key = ANY ($2::text[])"
_HELD: Final = f"""
    SELECT {rows.columns("m")},
           early.whatsapp_id AS early_id, early.state AS early_state, early.at AS early_at
    FROM unnest($2::text::bigint[], $3::text[]) AS claim (seq, whatsapp_id)
    JOIN beacon_message AS m ON m.seq = claim.seq AND m.account || '' = $1
    LEFT JOIN beacon_early_receipt AS early
        ON early.account = $1 AND early.whatsapp_id = claim.whatsapp_id
    FOR UPDATE OF m"""  # noqa: S608
_COMPLETE: Final = """
    UPDATE beacon_message AS m
    SET state = 'sent', whatsapp_id = done.whatsapp_id, attempts = m.attempts + 1, sent_at = done.at,
        finished_at = done.at, claim_token = NULL, worker = NULL, last_result = 'sent', last_error = NULL
    FROM unnest($2::text::bigint[], $3::text::bigint[], $4::text[], $5::text::float8[])
        AS done (seq, token, whatsapp_id, at)
    WHERE m.seq = done.seq AND m.claim_token = done.token
        AND m.account || '' = $1 AND m.state || '' = 'sending' AND NOT EXISTS (
            SELECT FROM beacon_early_receipt AS early
            WHERE early.whatsapp_id = done.whatsapp_id AND early.account = $1 OFFSET 0)
    RETURNING m.seq"""
"""`transitions.completed`, for many messages of whose WhatsApp ids no receipt came early: $2 seqs, $3 tokens,
$4 WhatsApp ids, $5 times."""
_BY_WHATSAPP_ID: Final = f"""
    {rows.SELECT} WHERE m.account = $1 AND m.whatsapp_id = ANY ($2::text[]) FOR UPDATE"""
_EARLY: Final = """
    SELECT whatsapp_id, state, at FROM beacon_early_receipt
    WHERE account = $1 AND whatsapp_id = ANY ($2::text[])"""
_EARLY_KEEP: Final = """
    INSERT INTO beacon_early_receipt (account, whatsapp_id, state, at, kept_at)
    SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text::float8[], $5::text::float8[])
    ON CONFLICT (account, whatsapp_id) DO UPDATE
    SET state = excluded.state, at = excluded.at, kept_at = excluded.kept_at"""
_EARLY_TAKEN: Final = """
    DELETE FROM beacon_early_receipt WHERE account = $1 AND whatsapp_id = ANY ($2::text[])"""


@dataclass(frozen=True, slots=True)
class Enqueue:
    """One call of QueueStore.enqueue; the messages as they are made."""

    messages: Sequence[Message]
    now: float


@dataclass(slots=True)
class Settle:
    """One call that settles a claim: what it makes of the message and of a receipt that came first."""

    claim: Claim
    how: Callable[[Message, Receipt | None], Message]
    now: float
    whatsapp_id: str | None = None
    stays_out_of_line: bool = False


@dataclass(frozen=True, slots=True)
class Receive:
    """One call of QueueStore.receive."""

    whatsapp_ids: Sequence[str]
    state: State
    at: float
    now: float


@dataclass(frozen=True, slots=True)
class Other:
    """Anything else, done alone, and perhaps more than once."""

    work: Callable[[Transaction], Awaitable[Any]]
    now: float


Operation: TypeAlias = Enqueue | Settle | Receive | Take | Other


def whatsapp_ids(operations: Iterable[Operation]) -> set[str]:
    """Those whose receipts the operations look at."""
    found: set[str] = set()
    for operation in operations:
        if isinstance(operation, Receive):
            found.update(operation.whatsapp_ids)
        elif isinstance(operation, Settle) and operation.whatsapp_id is not None:
            found.add(operation.whatsapp_id)
    return found


def weight(operation: Operation) -> int:
    """How many messages it concerns, about."""
    if isinstance(operation, Enqueue):
        return len(operation.messages)
    return len(operation.whatsapp_ids) if isinstance(operation, Receive) else 1


async def perform(
    transaction: Transaction, operations: Sequence[Operation], *, settled: Mapping[int, Message]
) -> list[Any]:
    """Do all of them in their order; an answer or an exception for each.

    `settled` are the outcomes, by claim token, of what was committed though its caller had to be told that
    the database does not answer. Raises when nothing of it all may be committed.
    """
    await transaction.lock(_chats(operations))
    answers: list[Any] = []
    for kind, run in groupby(operations, key=_kind):
        group: list[Any] = list(run)
        await transaction.flush()
        if kind[0] is Enqueue:
            answers += await _enqueue(transaction, group)
        elif kind[0] is Settle:
            answers += await _settle(transaction, group, settled)
        elif kind[0] is Receive:
            answers += await _receive(transaction, group)
        elif kind[0] is Take:
            await take(transaction, group, answers)
        else:
            answers += [await operation.work(transaction) for operation in group]
    return answers


def _kind(operation: Operation) -> tuple[type[Any], bool]:
    return type(operation), isinstance(operation, Take) and operation.fair


def _chats(operations: Iterable[Operation]) -> set[str]:
    """Whose lines will be changed, as far as that is known from the start."""
    chats: set[str] = set()
    for operation in operations:
        if isinstance(operation, Enqueue):
            chats.update(message.chat for message in operation.messages)
        elif isinstance(operation, Settle) and not operation.stays_out_of_line:
            chats.add(operation.claim.message.chat)
    return chats


async def _enqueue(transaction: Transaction, operations: Sequence[Enqueue]) -> list[list[Enqueued]]:
    messages = [message for operation in operations for message in operation.messages]
    kept = await transaction.insert(messages) if messages else {}
    keys = [message.idempotency_key for message in messages if message.id not in kept]
    first = {}
    if keys:
        first = {found.idempotency_key: found for found in await transaction.messages(_BY_KEY, keys)}
        if any(key not in first for key in keys):
            raise Moved
    return [
        [
            Enqueued(replace(message, seq=kept[message.id]), created=True)
            if message.id in kept
            else Enqueued(first[message.idempotency_key], created=False)
            for message in operation.messages
        ]
        for operation in operations
    ]


async def _settle(
    transaction: Transaction, operations: Sequence[Settle], settled: Mapping[int, Message]
) -> list[Message | ClaimLost]:
    """A message that is still as it was claimed need not be read again; the others are."""
    answers: dict[int, Message | ClaimLost] = dict(await _settle_unread(transaction, operations))
    left = [at for at in range(len(operations)) if at not in answers]
    if left:
        read = await _settle_read(transaction, [operations[at] for at in left], settled)
        answers.update(zip(left, read, strict=True))
    for at, answer in answers.items():
        if operations[at].stays_out_of_line and isinstance(answer, Message):
            transaction.met.setdefault(answer.chat, operations[at].now)
    return [answers[at] for at in range(len(operations))]


async def _settle_unread(transaction: Transaction, operations: Sequence[Settle]) -> dict[int, Message]:
    """The answers, by place, of those of which nothing has happened since the claim."""
    first: dict[int, int] = {}
    for at, operation in enumerate(operations):
        first.setdefault(operation.claim.message.seq, at)
    places = [at for at in first.values() if _believed(operations[at].claim)]
    if not places:
        return {}
    chosen = [operations[at] for at in places]
    if all(one.stays_out_of_line for one in chosen):
        done, afters = await _complete(transaction, chosen)
    else:
        afters = [one.how(one.claim.message, None) for one in chosen]
        changes = [(one.claim.message, after) for one, after in zip(chosen, afters, strict=True)]
        done = await transaction.try_save(changes, unless_receipt=[one.whatsapp_id for one in chosen])
    return {at: after for at, after in zip(places, afters, strict=True) if after.seq in done}


async def _complete(transaction: Transaction, operations: Sequence[Settle]) -> tuple[set[int], list[Message]]:
    """The seqs of those that were as they were claimed, and what is made of all of them if they were."""
    asked = transaction.fetch(
        _COMPLETE,
        rows.numbers(one.claim.message.seq for one in operations),
        rows.numbers(one.claim.token for one in operations),
        [one.whatsapp_id for one in operations],
        rows.numbers(one.now for one in operations),
    )
    found, afters = await meanwhile(asked, lambda: [one.how(one.claim.message, None) for one in operations])
    if found:
        transaction.moves[State.SENDING, State.SENT] += len(found)
    return {row["seq"] for row in found}, afters


def _believed(claim: Claim) -> bool:
    return claim.message.state is State.SENDING and claim.message.claim_token == claim.token


async def _settle_read(
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


async def _receive(transaction: Transaction, operations: Sequence[Receive]) -> list[list[Receipted]]:
    ids = list(whatsapp_ids(operations))
    current: dict[str | None, Message] = {}
    for message in sorted(await transaction.messages(_BY_WHATSAPP_ID, ids), key=lambda m: m.seq):
        current.setdefault(message.whatsapp_id, message)
    early: dict[str, Receipt] = {}
    strange = [id_ for id_ in ids if id_ not in current]
    if strange:
        found = await transaction.fetch(_EARLY, strange)
        early = {row["whatsapp_id"]: (State(row["state"]), row["at"]) for row in found}
    keep: dict[str, tuple[State, float, float]] = {}
    answers = []
    for operation in operations:
        moved = []
        for id_ in operation.whatsapp_ids:
            before = current.get(id_)
            if before is None:
                if transitions.further(early.get(id_), operation.state):
                    early[id_] = (operation.state, operation.at)
                    keep[id_] = (operation.state, operation.at, operation.now)
                continue
            after = transitions.received(before, operation.state, at=operation.at, now=operation.now)
            if after is not None:
                current[id_] = transaction.save(after, before)
                moved.append(Receipted(after, before.state))
        answers.append(moved)
    if keep:
        states, ats, nows = zip(*keep.values(), strict=True)
        await transaction.execute(_EARLY_KEEP, list(keep), states, rows.numbers(ats), rows.numbers(nows))
    return answers

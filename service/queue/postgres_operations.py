"""What the queue does in one transaction of PostgreSQL, the same kind of operation many at once."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final, TypeAlias

from service.errors import ClaimLost
from service.queue import postgres_rows as rows
from service.queue import transitions
from service.queue.model import Enqueued, Message, Receipted, State
from service.queue.postgres_claim import Handout, Take, Taken
from service.queue.postgres_settle import Receipt, Settle, settle, settle_rest
from service.queue.postgres_transaction import Moved, Transaction
from service.queue.postgres_turn import Turn, do_turn, take

_BY_KEY: Final = f"{rows.SELECT} WHERE m.account = $1 AND m.idempotency_key = ANY ($2::text[])"
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


@dataclass(frozen=True, slots=True)
class Enqueue:
    """One call of QueueStore.enqueue; the messages as they are made."""

    messages: Sequence[Message]
    now: float


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
    """How many messages it concerns, about. A claim's do not count: they come with as many completions."""
    if isinstance(operation, Enqueue):
        return len(operation.messages)
    return len(operation.whatsapp_ids) if isinstance(operation, Receive) else 1


async def perform(
    transaction: Transaction,
    operations: Sequence[Operation],
    *,
    turn: Turn | None,
    settled: Mapping[int, Message],
) -> list[Any]:
    """Do all of them, which may be a turn, in their order; an answer or an exception for each.

    `settled` are the outcomes, by claim token, of what was committed though its caller had to be told that
    the database does not answer. Raises when nothing of it all may be committed.
    """
    if turn is not None:
        return await _turn(transaction, turn, settled)
    await transaction.lock(_chats(operations))
    answers: list[Any] = []
    for kind, run in groupby(operations, key=_kind):
        group: list[Any] = list(run)
        await transaction.flush()
        if kind[0] is Enqueue:
            answers += await _enqueue(transaction, group)
        elif kind[0] is Settle:
            answers += await settle(transaction, group, settled)
        elif kind[0] is Receive:
            answers += await _receive(transaction, group)
        elif kind[0] is Take:
            handout = Handout(group)
            await take(transaction, handout)
            answers += handout.answers
        else:
            answers += [await operation.work(transaction) for operation in group]
    return answers


async def _turn(
    transaction: Transaction, turn: Turn, settled: Mapping[int, Message]
) -> list[Message | ClaimLost | Taken]:
    """What the turn leaves undone is done in the same order."""
    handout = Handout(turn.takes)
    done = await do_turn(transaction, turn, handout)
    outcomes = await settle_rest(transaction, turn.settles, done, settled)
    await take(transaction, handout)
    return [*outcomes, *handout.answers]


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

"""Changes of single messages in PostgreSQL, and of many that have something in common."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import asyncpg

from service.queue import postgres_rows as rows
from service.queue import transitions
from service.queue.making import new_secret
from service.queue.model import RETENTION_S, Claim, Message, Page, Query, State
from service.queue.postgres_keeping import unnamed
from service.queue.postgres_transaction import Transaction

BATCH: Final = 256
"""Most messages that one transaction expires, forgets or queues again, so that none of them takes long."""

EARLY_RECEIPT_S: Final = 3600.0

GET: Final = f"{rows.SELECT} WHERE m.account = $1 AND m.id = $2"
NEXT_DUE: Final = """
    SELECT due_at FROM beacon_lane WHERE account = $1 AND turn = 'waiting' ORDER BY due_at LIMIT 1"""
UNKNOWNS: Final = f"{rows.SELECT} WHERE m.account || ' ' || m.state = $1 || ' unknown' ORDER BY m.seq"
ORPHANS: Final = f"""
    {rows.SELECT} WHERE m.account = $1 AND m.worker IS NOT NULL AND m.worker <> $2"""
FIND_CHAT: Final = f"""
    {rows.SELECT} WHERE m.account || ' ' || m.chat = $1 || ' ' || $4 AND m.seq < $2
    ORDER BY m.seq DESC LIMIT $3"""
FIND_STATES: Final = f"""
    SELECT {rows.columns("m")} FROM unnest($4::text[]) AS wanted (state)
    CROSS JOIN LATERAL (
        SELECT * FROM beacon_message AS message
        WHERE message.account || ' ' || message.state = $1 || ' ' || wanted.state AND message.seq < $2
        ORDER BY message.seq DESC LIMIT $3) AS m
    ORDER BY m.seq DESC LIMIT $3"""  # noqa: S608

_WHERE_ID: Final = "SELECT seq, chat FROM beacon_message WHERE account = $1 AND id = $2"
_WHERE_WHATSAPP_ID: Final = """
    SELECT seq, chat FROM beacon_message WHERE account = $1 AND whatsapp_id = $2"""
_WHERE_EXPIRED: Final = f"""
    SELECT seq, chat FROM beacon_message WHERE account = $1 AND state = 'queued' AND expires_at <= $2
    ORDER BY expires_at LIMIT {BATCH}"""  # noqa: S608
_WHERE_DEAD: Final = f"""
    SELECT seq, chat FROM beacon_message WHERE account || ' ' || state = $1 || ' dead' AND seq > $2
    ORDER BY seq LIMIT {BATCH}"""  # noqa: S608
_BY_SEQ: Final = f"""
    {rows.SELECT} JOIN unnest($2::bigint[]) AS wanted (seq) ON m.seq = wanted.seq
    WHERE m.account || '' = $1 FOR UPDATE OF m"""

_FORGET: Final = f"""
    DELETE FROM beacon_message WHERE seq IN (
        SELECT seq FROM beacon_message WHERE account = $1 AND state = $2 AND finished_at <= $3
        ORDER BY finished_at LIMIT {BATCH} FOR UPDATE SKIP LOCKED)
    RETURNING file"""  # noqa: S608
_EARLY_FORGET: Final = "DELETE FROM beacon_early_receipt WHERE account || '' = $1 AND kept_at <= $2"
_TOKENS_AFTER: Final = """
    SELECT setval('beacon_claim_token', $2)
    WHERE $1 <> '' AND $2 > (SELECT last_value FROM beacon_claim_token)"""

LOOK: Final = 10_000
"""Most messages of one chat that a page looks at when it wants only some states of them; a page may so be
short, even empty, and not the last."""

_END: Final = 2**63 - 1


# --- one message --------------------------------------------------------------------------------------


async def change(
    transaction: Transaction, message_id: str, how: Callable[[Message], Message | None]
) -> Message | None:
    """What `how` makes of this message, itself where that is None; None when it is not kept."""
    return await _change(transaction, await transaction.fetch(_WHERE_ID, message_id), how)


async def resend(transaction: Transaction, whatsapp_id: str, *, now: float) -> Message | None:
    """See QueueStore.resend."""
    where = await transaction.fetch(_WHERE_WHATSAPP_ID, whatsapp_id)
    first = sorted(where, key=lambda row: int(row["seq"]))[:1]
    return await _change(transaction, first, lambda m: transitions.resent(m, secret=new_secret(), now=now))


async def _change(
    transaction: Transaction, where: Sequence[asyncpg.Record], how: Callable[[Message], Message | None]
) -> Message | None:
    for before in await locked(transaction, _places(where)):
        after = how(before)
        return before if after is None else transaction.save(after, before)
    return None


async def locked(transaction: Transaction, places: Iterable[tuple[int, str]]) -> list[Message]:
    """Messages of these seqs and chats: their lanes first, and then they as they are under these locks."""
    chat_of = dict(places)
    if not chat_of:
        return []
    await transaction.lock(chat_of.values())
    found = await transaction.messages(_BY_SEQ, list(chat_of))
    return sorted(found, key=lambda message: message.seq)


def _places(where: Iterable[asyncpg.Record]) -> list[tuple[int, str]]:
    return [(row["seq"], row["chat"]) for row in where]


# --- many messages ------------------------------------------------------------------------------------


async def expire(transaction: Transaction, *, now: float) -> int:
    """At most `BATCH` of what QueueStore.expire moves; how many."""
    where = await transaction.fetch(_WHERE_EXPIRED, now)
    late = [
        message
        for message in await locked(transaction, _places(where))
        if message.state is State.QUEUED and message.expires_at <= now
    ]
    for message in late:
        transaction.save(transitions.expired(message, now=now), message)
    return len(late)


async def requeue_dead(transaction: Transaction, *, after: int, now: float) -> tuple[int, int | None]:
    """At most `BATCH` of what QueueStore.requeue_dead moves, those of a seq above `after`; how many, and
    after which to go on."""
    where = await transaction.fetch(_WHERE_DEAD, after)
    moved = 0
    for message in await locked(transaction, _places(where)):
        if message.state is State.DEAD:
            requeued = transitions.requeued(message, secret=new_secret(), now=now)
            assert requeued is not None
            transaction.save(requeued, message)
            moved += 1
    return moved, where[-1]["seq"] if len(where) == BATCH else None


async def prune(transaction: Transaction, *, now: float) -> int:
    """At most `BATCH` of each state of what QueueStore.prune forgets; how many messages."""
    await transaction.execute(_EARLY_FORGET, now - EARLY_RECEIPT_S)
    forgotten, files = 0, set()
    for state, kept_s in RETENTION_S.items():
        gone = await transaction.fetch(_FORGET, state.value, now - kept_s)
        if gone:
            transaction.moves[state, None] += len(gone)
            forgotten += len(gone)
            files |= {row["file"] for row in gone if row["file"] is not None}
    await unnamed(transaction, files)
    return forgotten


async def adopt(transaction: Transaction, messages: Sequence[Message]) -> int:
    """See QueueStore.adopt."""
    if not messages:
        return 0
    await transaction.lock(message.chat for message in messages)
    kept = await transaction.insert(messages)
    last = max((message.claim_token or 0 for message in messages), default=0)
    if last:
        await transaction.fetch(_TOKENS_AFTER, last)
    return len(kept)


# --- looking ------------------------------------------------------------------------------------------


async def find(connection: asyncpg.Connection, account: str, query: Query) -> Page:
    """See QueueStore.find."""
    before = _END if query.before is None else query.before
    if query.chat is not None and query.states:
        return await _find_some_of_chat(connection, account, query, chat=query.chat, before=before)
    values = [account, before, query.limit + 1]
    if query.chat is not None:
        found = await connection.fetch(FIND_CHAT, *values, query.chat)
    else:
        found = await connection.fetch(FIND_STATES, *values, sorted(query.states or State))
    messages = [rows.message(row) for row in found]
    more = len(messages) > query.limit
    return Page(messages[: query.limit], messages[query.limit - 1].seq if more else None)


async def _find_some_of_chat(
    connection: asyncpg.Connection, account: str, query: Query, *, chat: str, before: int
) -> Page:
    """Pages of the chat until enough are of the states, or `LOOK` were looked at."""
    wanted: list[Message] = []
    looked = 0
    while looked < LOOK:
        step = min(LOOK - looked, max(query.limit + 1, 200))
        found = await connection.fetch(FIND_CHAT, account, before, step, chat)
        for row in found:
            if row["state"] in query.states:
                if len(wanted) == query.limit:
                    return Page(wanted, wanted[-1].seq)
                wanted.append(rows.message(row))
        if len(found) < step:
            return Page(wanted, None)
        looked, before = looked + step, found[-1]["seq"]
    return Page(wanted, before)


def orphans(messages: Sequence[Message]) -> list[Claim]:
    """See QueueStore.orphans."""
    ordered = sorted(messages, key=lambda message: (message.chat, message.seq))
    return [Claim(message, message.claim_token or 0, behind=None) for message in ordered]

"""What is kept beside the messages in PostgreSQL: files, acquaintances, cool-downs."""

from collections.abc import Mapping
from typing import Final

import asyncpg

from service.queue.model import Acquaintance, Cooldown, Cooling
from service.queue.postgres_transaction import Transaction

KEPT_S: Final = 3600.0
"""How long a file is kept at least: that long a message may take to name it."""

FILES: Final = 16
"""Most files that one transaction looks at."""

KEEP: Final = """
    INSERT INTO beacon_file (account, sha256, check_at, bytes) VALUES ($1, $2, $3, $4)
    ON CONFLICT (account, sha256) DO NOTHING"""
KEEP_LONGER: Final = "UPDATE beacon_file SET check_at = $3 WHERE account = $1 AND sha256 = $2"
BYTES: Final = "SELECT bytes FROM beacon_file WHERE account = $1 AND sha256 = $2"
_CHECK: Final = """
    UPDATE beacon_file SET check_at = coalesce(check_at, 0)
    WHERE account = $1 AND sha256 = ANY ($2::text[])"""
_DUE: Final = f"""
    SELECT file.sha256 FROM beacon_file AS file WHERE file.account = $1 AND file.check_at <= $2
    ORDER BY file.check_at LIMIT {FILES} FOR UPDATE SKIP LOCKED"""  # noqa: S608
_NAMED: Final = """
    SELECT file.sha256 FROM unnest($2::text[]) AS file (sha256) WHERE EXISTS (
        SELECT FROM beacon_message AS message WHERE message.account = $1 AND message.file = file.sha256)"""
_STAYS: Final = "UPDATE beacon_file SET check_at = NULL WHERE account = $1 AND sha256 = ANY ($2::text[])"
_FORGET: Final = "DELETE FROM beacon_file WHERE account = $1 AND sha256 = ANY ($2::text[])"

_ACQUAINT: Final = """
    INSERT INTO beacon_acquaintance AS known (account, chat, first_sent_at, heard_at)
    SELECT $1, chat, first_sent_at, heard_at
    FROM unnest($2::text[], $3::float8[], $4::float8[]) AS new (chat, first_sent_at, heard_at) ORDER BY chat
    ON CONFLICT (account, chat) DO UPDATE
    SET first_sent_at = least(known.first_sent_at, excluded.first_sent_at),
        heard_at = greatest(known.heard_at, excluded.heard_at)"""
_ACQUAINTANCE: Final = """
    SELECT first_sent_at, heard_at FROM beacon_acquaintance WHERE account = $1 AND chat = $2"""
_STRANGERS: Final = """
    SELECT count(*) FROM beacon_acquaintance
    WHERE account = $1 AND heard_at IS NULL AND first_sent_at >= $2 AND chat NOT LIKE '%@g.us'"""
_COOL: Final = """
    INSERT INTO beacon_cooldown (account, cooling, until, times) VALUES ($1, $2, $3, $4)
    ON CONFLICT (account, cooling) DO UPDATE SET until = excluded.until, times = excluded.times"""
_COOLDOWNS: Final = "SELECT cooling, until, times FROM beacon_cooldown WHERE account = $1"


async def keep_file(
    connection: asyncpg.Connection, account: str, sha256: str, data: bytes, *, now: float
) -> None:
    """See QueueStore.keep_file."""
    while await connection.execute(KEEP_LONGER, account, sha256, now + KEPT_S) == "UPDATE 0":
        await connection.execute(KEEP, account, sha256, now + KEPT_S, data)


async def unnamed(transaction: Transaction, sha256s: set[str]) -> None:
    """Messages that named these are gone; `prune_files` looks whether others do."""
    if sha256s:
        await transaction.execute(_CHECK, sorted(sha256s))


async def prune_files(transaction: Transaction, *, now: float) -> int:
    """Forget what nothing names, at most `FILES` looked at; how many were."""
    due = [row["sha256"] for row in await transaction.fetch(_DUE, now)]
    if due:
        named = {row["sha256"] for row in await transaction.fetch(_NAMED, due)}
        await transaction.execute(_STAYS, sorted(named))
        await transaction.execute(_FORGET, [sha256 for sha256 in due if sha256 not in named])
    return len(due)


async def acquaint(transaction: Transaction, known: Mapping[str, Acquaintance]) -> None:
    """See QueueStore.acquaint."""
    await transaction.execute(
        _ACQUAINT,
        list(known),
        [acquaintance.first_sent_at for acquaintance in known.values()],
        [acquaintance.heard_at for acquaintance in known.values()],
    )


async def acquaintance(connection: asyncpg.Connection, account: str, chat: str) -> Acquaintance:
    """See QueueStore.acquaintance."""
    row = await connection.fetchrow(_ACQUAINTANCE, account, chat)
    return Acquaintance(None, None) if row is None else Acquaintance(**row)


async def strangers_since(connection: asyncpg.Connection, account: str, at: float) -> int:
    """See QueueStore.strangers_since."""
    strangers: int = await connection.fetchval(_STRANGERS, account, at)
    return strangers


async def cool(transaction: Transaction, cooling: Cooling, cooldown: Cooldown) -> None:
    """See QueueStore.cool."""
    await transaction.execute(_COOL, cooling.value, cooldown.until, cooldown.times)


async def cooldowns(connection: asyncpg.Connection, account: str) -> dict[Cooling, Cooldown]:
    """See QueueStore.cooldowns."""
    found = await connection.fetch(_COOLDOWNS, account)
    return {Cooling(row["cooling"]): Cooldown(row["until"], row["times"]) for row in found}

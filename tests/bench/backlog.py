"""A backlog of any depth, made by a few statements: one message is enqueued, the database copies it.

It consists of blocks that are alike: so many messages to chats of their own, which take turns. Whoever works
off one block does what he does for any other, however many wait: as many chats are new, and as many messages
are followed by another one of their chat. (With chats that all took turns, a long queue was one of messages
to strangers, a short one of messages to chats that were known after a moment. That took a tenth more, and had
nothing to do with its length.)
"""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from typing import Final

import asyncpg

from service.engine.content import Text
from service.queue.model import NewMessage
from tests.bench.stores import Place

BLOCK: Final = 1000
CHATS: Final = 100
"""In a block."""

TEXT: Final = "the quick brown fox jumps over the lazy dog"

_CHAT: Final = f"15550000000 + n / {BLOCK} * {CHATS} + n % {CHATS}"
"""The number of the chat of message n, in SQL."""


def messages_to(chats: int, count: int, *, first: int = 0) -> list[NewMessage]:
    """New messages to so many chats, in turn; `first` is the number of the first chat."""
    return [
        NewMessage(chat=f"{15_550_000_000 + first + i % chats}@s.whatsapp.net", content=Text(text=TEXT))
        for i in range(count)
    ]


def block(number: int) -> list[NewMessage]:
    """The messages of that block of a backlog, counted from 0."""
    return messages_to(CHATS, BLOCK, first=number * CHATS)


async def make(place: Place, messages: int) -> None:
    """Put that many queued messages into an empty queue."""
    async with place.store() as store:
        await store.enqueue(messages_to(1, 1), now=time.time())
    if place.kind == "sqlite":
        await asyncio.to_thread(_copy_sqlite, place.where, messages - 1)
    else:
        await _copy_postgres(place.where, messages - 1)


def _copy_sqlite(path: str, copies: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    columns = [
        name for _, name, *_, hidden in connection.execute("PRAGMA table_xinfo(message)") if not hidden
    ]
    new = {
        "id": "printf('%s-%07d', id, n)",
        "chat": f"({_CHAT}) || '@s.whatsapp.net'",
        "secret": "randomblob(32)",
    }
    connection.execute("BEGIN")
    connection.execute(f"""
        WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number LIMIT {copies})
        {_copies("message", columns, new)} CROSS JOIN message""")
    connection.execute("""
        INSERT INTO lane (account, chat, seq, priority, turn, due_at)
        SELECT account, chat, min(seq), priority, 'ready', due_at FROM message GROUP BY chat
        ON CONFLICT DO NOTHING""")
    connection.execute(f"UPDATE tally SET messages = messages + {copies} WHERE state = 'queued'")
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


async def _copy_postgres(url: str, copies: int) -> None:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("""
        SELECT column_name FROM information_schema.columns
        WHERE table_name = 'beacon_message' AND is_generated = 'NEVER'""")
    columns = [row["column_name"] for row in rows]
    new = {
        "id": "id || '-' || lpad(n::text, 7, '0')",
        "chat": f"({_CHAT}) || '@s.whatsapp.net'",
        "secret": "sha256(n::text::bytea)",
    }
    async with connection.transaction():
        await connection.execute(f"""
            WITH number AS (SELECT generate_series(1, {copies}) AS n)
            {_copies("beacon_message", columns, new)} CROSS JOIN beacon_message""")
        await connection.execute("""
            INSERT INTO beacon_lane (account, chat, seq, priority, turn, due_at)
            SELECT DISTINCT ON (account, chat) account, chat, seq, priority, 'ready', due_at
            FROM beacon_message ORDER BY account, chat, seq
            ON CONFLICT DO NOTHING""")
        await connection.execute(f"UPDATE beacon_tally SET queued = queued + {copies} WHERE queued > 0")
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")
    await connection.close()


def _copies(table: str, columns: Sequence[str], new: dict[str, str]) -> str:
    """What copies the only message once for each `number`; seq is given anew."""
    copied = [name for name in columns if name != "seq"]
    values = ", ".join(new.get(name, name) for name in copied)
    return f"INSERT INTO {table} ({', '.join(copied)}) SELECT {values} FROM number"

"""A session in PostgreSQL that is in the way, kept under another name.

Tables are renamed, which needs no other right than theirs and reads no row: damaged ones go, too. Names of
indexes are one space with those of tables, so they are changed as well.
"""

import re
from collections.abc import Sequence
from typing import Final

import asyncpg

KEPT_ASIDE: Final = 3

_TABLES: Final = r"SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()"
_INDEXES: Final = r"""
    SELECT indexname::text FROM pg_indexes
    WHERE schemaname = current_schema() AND tablename LIKE 'whatsmeow\_%' ORDER BY indexname"""
_VERSIONS: Final = "CREATE TABLE whatsmeow_version (version integer, compat integer)"
_ASIDE: Final = re.compile(r"([a-z]+-(\d+)) .+")


async def set_aside(base: asyncpg.Connection, label: str, *, now: float) -> None:
    """Rename the session's tables to `LABEL-SECONDS TABLE`, in the transaction that is under way. What comes
    next begins with none; of the sessions set aside, the latest three stay."""
    prefix = f"{label}-{int(now)}"
    await _drop(base, [prefix])  # twice within one second: the later one
    for number, (index,) in enumerate(await base.fetch(_INDEXES), 1):
        await base.execute(f'ALTER INDEX "{index}" RENAME TO "{prefix} index {number}"')
    for table in await _tables(base):
        if table.startswith("whatsmeow_"):
            await base.execute(f'ALTER TABLE "{table}" RENAME TO "{prefix} {table}"')
    await base.execute(_VERSIONS)
    found = {match[1]: int(match[2]) for table in await _tables(base) if (match := _ASIDE.fullmatch(table))}
    await _drop(base, sorted(found, key=lambda name: found[name], reverse=True)[KEPT_ASIDE:])


async def _drop(base: asyncpg.Connection, prefixes: Sequence[str]) -> None:
    old = [f'"{table}"' for table in await _tables(base) if table.partition(" ")[0] in prefixes]
    if old:
        await base.execute(f"DROP TABLE {', '.join(old)} CASCADE")


async def _tables(base: asyncpg.Connection) -> Sequence[str]:
    return [str(name) for (name,) in await base.fetch(_TABLES)]

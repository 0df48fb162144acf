"""Numbered SQL files, each applied once, under a lock and in one transaction; a table says which were."""

import re
from importlib import resources
from typing import Final

import asyncpg

from service.errors import StoreTooNew

_NAME: Final = re.compile(r"(\d{4})_\w+\.sql")
_LOCK: Final = 0x6265_6163_7175  # "beacqu": two processes may start at once
_EXISTS: Final = "SELECT to_regclass('beacon_migration') IS NOT NULL"
_VERSION: Final = "SELECT coalesce(max(number), 0) FROM beacon_migration"
_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS beacon_migration (
        number integer PRIMARY KEY,
        applied_at timestamptz NOT NULL DEFAULT now()
    )"""


async def migrate(connection: asyncpg.Connection) -> list[int]:
    """Bring the schema up to this program's; the numbers of the migrations that were applied.

    Raises StoreTooNew when a newer program was here; asyncpg's errors, and nothing is changed, when a
    migration cannot be applied.
    """
    known = migrations()
    if await _version(connection, known) == max(known):
        return []
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_TABLE)
        version = await _version(connection, known)
        missing = sorted(number for number in known if number > version)
        for number in missing:
            await connection.execute(known[number])
            await connection.execute("INSERT INTO beacon_migration (number) VALUES ($1)", number)
    return missing


def migrations() -> dict[int, str]:
    """The SQL of each migration by its number."""
    folder = resources.files("service.queue") / "sql" / "postgres"
    return {
        int(found[1]): file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if (found := _NAME.fullmatch(file.name))
    }


async def _version(connection: asyncpg.Connection, known: dict[int, str]) -> int:
    if not await connection.fetchval(_EXISTS):
        return 0
    version: int = await connection.fetchval(_VERSION)
    if version > max(known):
        raise StoreTooNew(
            f"queue schema {version}: this program knows up to {max(known)}; start the newer one again"
        )
    return version

"""Numbered SQL files in PostgreSQL, each applied once, under a lock and in one transaction; a table says
which were. Each room that keeps something there has its own files, table and lock."""

import re
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Final, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from service.errors import StoreTooNew

Connection: TypeAlias = asyncpg.Connection | PoolConnectionProxy

_NAME: Final = re.compile(r"(\d{4})_\w+\.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What one room keeps: its name to a person, the folder of its files, the table that says which were
    applied, and the number of the advisory lock, for two processes may start at once."""

    name: str
    folder: Traversable
    table: str
    lock: int

    def migrations(self) -> dict[int, str]:
        """The SQL of each migration by its number."""
        return {
            int(found[1]): file.read_text(encoding="utf-8")
            for file in self.folder.iterdir()
            if (found := _NAME.fullmatch(file.name))
        }

    async def migrate(self, connection: Connection) -> list[int]:
        """Bring the schema up to this program's; the numbers of the migrations that were applied.

        Raises StoreTooNew when a newer program was here; asyncpg's errors, and nothing is changed, when a
        migration cannot be applied.
        """
        known = self.migrations()
        if await self._version(connection, known) == max(known):
            return []
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", self.lock)
            await connection.execute(
                f"CREATE TABLE IF NOT EXISTS {self.table} "
                "(number integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
            )
            version = await self._version(connection, known)
            missing = sorted(number for number in known if number > version)
            for number in missing:
                await connection.execute(known[number])
                await connection.execute(f"INSERT INTO {self.table} (number) VALUES ($1)", number)  # noqa: S608
        return missing

    async def _version(self, connection: Connection, known: dict[int, str]) -> int:
        if not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", self.table):
            return 0
        version: int = await connection.fetchval(f"SELECT coalesce(max(number), 0) FROM {self.table}")  # noqa: S608
        if version > max(known):
            raise StoreTooNew(
                f"{self.name} schema {version}: this program knows up to {max(known)}; "
                "start the newer one again"
            )
        return version

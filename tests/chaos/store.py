"""Where the queue of the service under test is kept."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import ClassVar, Final

import asyncpg

from tests.component.postgres import Postgres

FREE_LEASE: Final = "UPDATE beacon_lease SET holder = '', expires_at = to_timestamp(0)"


@dataclass(frozen=True, slots=True)
class Store:
    """The settings that choose it, and what must be done for it between two lives of the service."""

    KINDS: ClassVar = ("sqlite", "postgres")

    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    async def make(cls, kind: str, stack: AsyncExitStack) -> "Store":
        """SQLite in DATA_DIR, or a PostgreSQL server that ends with the stack."""
        if kind == "sqlite":
            return cls()
        server = stack.enter_context(Postgres())
        return cls({"DATABASE_URL": server.url(await server.create())})

    async def release(self) -> None:
        """Free the lease of a process that is known to be dead: it would expire after 15 s."""
        if (url := self.environment.get("DATABASE_URL")) is None:
            return
        connection: asyncpg.Connection = await asyncpg.connect(url)
        try:
            await connection.execute(FREE_LEASE)
        finally:
            await connection.close()

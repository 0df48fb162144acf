"""The session in PostgreSQL: whatsmeow's tables in the database itself, as far as the parent may touch them.

Each account has a schema of its own. whatsmeow's library for databases looks for a table by its name alone,
in all schemas (go.mau.fi/util dbutil, TableExists): with a second account it would take the first one's table
of versions for its own, and fail. So that table is made here, before whatsmeow looks.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
import structlog
from asyncpg.connect_utils import SessionAttribute

from service.engine.dsn import engine_dsn
from service.engine.notebook import Notebook
from service.errors import StoreError, StoreUnavailable
from service.postgres import TROUBLE, described, passing, tls_mode

log = structlog.get_logger(__name__)

DEADLINE_S: Final = 5.0
"""How long one question may take."""

RATCHETS: Final = ("whatsmeow_sessions", "whatsmeow_sender_keys")
"""Used twice, they lose messages without a word: what seals a peer's, and a group's, next message."""

_NO_TABLE: Final = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError)
_UNTOLD: Final = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.UndefinedFunctionError,
    asyncpg.FeatureNotSupportedError,
)

_TABLES: Final = """
    CREATE TABLE IF NOT EXISTS whatsmeow_version (version integer, compat integer);
    CREATE TABLE IF NOT EXISTS beacon_session (
        identity text NOT NULL,
        origin   text NOT NULL,
        one      boolean PRIMARY KEY DEFAULT true CHECK (one)
    )"""

_ORIGIN: Final = """
    SELECT system_identifier || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
    FROM pg_control_system()"""
"""Which server wrote, in which history: a copy, a failover, a recovery to a point in time begin another."""

_SAVE: Final = """
    INSERT INTO beacon_session (identity, origin) VALUES ($1, $2)
    ON CONFLICT (one) DO UPDATE SET identity = excluded.identity, origin = excluded.origin"""


class PostgresSession:
    """One account's session in the database of `url`. `path` only says where the engine's notes are."""

    def __init__(self, url: str, *, account: str, path: Path) -> None:
        self.path = path
        self.schema = f"beacon_session_{account}"
        self._url = url
        self._identity: str | None = None

    @property
    def dsn(self) -> str:
        """What the engine opens the session with; a secret."""
        return engine_dsn(self._url, schema=self.schema)

    def prepare(self) -> None:
        """There is nothing to be done before `open`."""

    async def open(self) -> int:
        """Make what whatsmeow's tables need around them, and see whether the database is still the one that
        wrote them. Only under the lease, while no engine runs.

        In a database that was brought back, or whose standby took over, what was written last may be undone,
        and ratchets must not be used twice: they are dropped, and the session is named anew. How many were
        dropped. Raises StoreUnavailable, and StoreError when the database refuses.
        """
        async with self._asked() as base, base.transaction():
            if not await base.fetchval("SELECT to_regnamespace($1) IS NOT NULL", self._quoted):
                await base.execute(f"CREATE SCHEMA {self._quoted}")
            await base.execute(_TABLES)
            origin = await _origin(base)
            known = await base.fetchrow("SELECT identity, origin FROM beacon_session")
            dropped = 0
            if known is not None and known["origin"] == origin:
                identity = str(known["identity"])
            else:
                identity, dropped = secrets.token_hex(8), await _drop_ratchets(base)
                await base.execute(_SAVE, identity, origin)
        self._identity = identity
        if dropped:
            log.warning("session.ratchets_dropped", sessions=dropped)
        return dropped

    def identity(self) -> str:
        """Names this session as long as nothing of it is undone. Raises StoreUnavailable before `open`."""
        if self._identity is None:
            raise StoreUnavailable("session database: not opened yet")
        return self._identity

    async def device_jid(self) -> str | None:
        """The JID of the paired device, None when there is none. Raises StoreError."""
        return await self._value("SELECT jid FROM whatsmeow_device LIMIT 1")

    async def find_message_id(self, secret: bytes) -> str | None:
        """The WhatsApp id of the message sent with this secret; None: it was never begun. As
        SessionFile.find_message_id. Raises StoreError."""
        query = "SELECT message_id FROM whatsmeow_message_secrets WHERE key = $1 LIMIT 1"
        return await self._value(query, secret)

    async def forget_device(self) -> None:
        """As SessionFile.forget_device. Raises StoreError."""
        async with self._asked() as base:
            if await base.fetchval("SELECT to_regclass('whatsmeow_device') IS NOT NULL"):
                await base.execute("DELETE FROM whatsmeow_device")

    def remove(self) -> None:
        """Drop all tables, and the engine's notes; what comes next is another session. Only while no engine
        runs, and in a thread without an event loop. Raises StoreError, OSError."""
        asyncio.run(self._remove())
        Notebook(self.path).clear()

    async def _remove(self) -> None:
        async with self._asked() as base, base.transaction():
            names: Sequence[asyncpg.Record] = await base.fetch(
                "SELECT quote_ident(tablename) AS name FROM pg_tables WHERE schemaname = $1", self.schema
            )
            if names:
                await base.execute(f"DROP TABLE {', '.join(row['name'] for row in names)} CASCADE")
        self._identity = None
        await self.open()

    @property
    def _quoted(self) -> str:
        return f'"{self.schema}"'  # of an account's name: letters, digits, - and _

    async def _value(self, query: str, *arguments: object) -> str | None:
        async with self._asked() as base:
            try:
                value = await base.fetchval(query, *arguments)
            except _NO_TABLE:  # whatsmeow has not opened it yet
                return None
        return None if value is None else str(value)

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for one question: they are rare, and come from more than one event loop."""
        try:
            base: asyncpg.Connection = await asyncpg.connect(
                self._url,
                ssl=tls_mode(self._url),
                target_session_attrs=SessionAttribute.read_write,
                statement_cache_size=0,
                timeout=DEADLINE_S,
                command_timeout=DEADLINE_S,
                server_settings={"application_name": "beacon session", "search_path": self._quoted},
            )
            try:
                yield base
            finally:
                base.terminate()
        except (*TROUBLE, ValueError) as error:
            raise _translated(error) from None


async def _origin(base: asyncpg.Connection) -> str:
    try:
        async with base.transaction():
            return str(await base.fetchval(_ORIGIN))
    except _UNTOLD as error:
        log.warning("session.origin_untold", error=described(error))
        return "untold"


async def _drop_ratchets(base: asyncpg.Connection) -> int:
    dropped = []
    for table in RATCHETS:
        if await base.fetchval("SELECT to_regclass($1) IS NOT NULL", table):
            dropped.append(await base.execute(f"DELETE FROM {table}"))  # noqa: S608
    return int(dropped[0].split()[-1]) if dropped else 0


def _translated(error: Exception) -> StoreError:
    kind = StoreUnavailable if passing(error) else StoreError
    return kind(f"session database: {described(error)}")

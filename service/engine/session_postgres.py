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

OURS: Final = "beacon_session"
"""What we keep beside whatsmeow's tables. `fence` is the lease's number of the last process that opened the
session, `undone` says that the database was put back since the session was last taken over, `cleared` that
the operator removed it, and `lineage` is the backups' note on whose turn it was last part of."""

_VERSIONS: Final = "CREATE TABLE IF NOT EXISTS whatsmeow_version (version integer, compat integer)"
_TABLES: Final = f"""
    {_VERSIONS};
    CREATE TABLE IF NOT EXISTS {OURS} (
        identity text NOT NULL,
        origin   text NOT NULL,
        one      boolean PRIMARY KEY DEFAULT true CHECK (one)
    );
    ALTER TABLE {OURS}
        ADD COLUMN IF NOT EXISTS fence   bigint  NOT NULL DEFAULT 0,
        ADD COLUMN IF NOT EXISTS undone  boolean NOT NULL DEFAULT false,
        ADD COLUMN IF NOT EXISTS cleared boolean NOT NULL DEFAULT false,
        ADD COLUMN IF NOT EXISTS lineage text"""

_ORIGIN: Final = """
    SELECT system_identifier || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
    FROM pg_control_system()"""
"""Which server wrote, in which history: a copy, a failover, a recovery to a point in time begin another."""

_KNOWN: Final = f"SELECT identity, origin, fence, undone, cleared FROM {OURS} FOR UPDATE"  # noqa: S608
_SAVE: Final = f"""
    INSERT INTO {OURS} (identity, origin, fence, undone) VALUES ($1, $2, $3, $4)
    ON CONFLICT (one) DO UPDATE SET identity = excluded.identity, origin = excluded.origin,
        fence = excluded.fence, undone = excluded.undone"""  # noqa: S608

_CLEARED: Final = f"""
    INSERT INTO {OURS} (identity, origin, cleared) VALUES ($1, $2, true)
    ON CONFLICT (one) DO UPDATE SET identity = excluded.identity, cleared = true"""  # noqa: S608


class PostgresSession:
    """One account's session in the database of `url`. `path` only says where the engine's notes are."""

    def __init__(self, url: str, *, account: str, path: Path) -> None:
        self.path = path
        self.schema = f"beacon_session_{account}"
        self.undone = False
        """As `open` found it: the database was put back since the session was last taken over."""
        self.cleared = False
        """The operator removed a session here, and no other has been backed up since; `open` asks."""
        self._url = url
        self._identity: str | None = None
        self._fence = 0

    @property
    def dsn(self) -> str:
        """What the engine opens the session with; a secret."""
        return engine_dsn(self._url, schema=self.schema)

    def prepare(self) -> None:
        """There is nothing to be done before `open`."""

    async def open(self, *, fence: int = 0) -> int:
        """Make what whatsmeow's tables need around them, and see whether the database is still the one that
        wrote them. Only under the lease, whose number is `fence`, while no engine runs.

        In a database that was brought back, or whose standby took over, what was written last may be undone,
        and ratchets must not be used twice: they are dropped, and the session is named anew. How many were
        dropped. Raises StoreUnavailable, and StoreError when the database refuses, or when a later owner has
        opened the session.
        """
        async with self.connected() as base, base.transaction():
            await self._make(base)
            origin = await _origin(base)
            known = await base.fetchrow(_KNOWN)
            same = known is not None and known["origin"] == origin
            if known is not None and same and known["fence"] > fence > 0:
                raise StoreError(f"session database: opened under fence {known['fence']}, ours is {fence}")
            held = fence or (int(known["fence"]) if known is not None else 0)
            undone = known is not None and (bool(known["undone"]) or not same)
            if known is not None and same:
                identity, dropped = str(known["identity"]), 0
            else:
                identity, dropped = _new_identity(), await drop_ratchets(base)
            await base.execute(_SAVE, identity, origin, held, undone)
        self._identity, self._fence, self.undone = identity, held, undone
        self.cleared = known is not None and bool(known["cleared"])
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
        async with self.connected() as base:
            if await base.fetchval("SELECT to_regclass('whatsmeow_device') IS NOT NULL"):
                await base.execute("DELETE FROM whatsmeow_device")

    def remove(self) -> None:
        """Drop all tables, and the engine's notes; what comes next is another session. Only while no engine
        runs, and in a thread without an event loop. Raises StoreError, OSError."""
        asyncio.run(self._remove())
        Notebook(self.path).clear()

    async def _remove(self) -> None:
        identity = _new_identity()
        async with self.connected() as base, base.transaction():
            await self._make(base)
            names: Sequence[asyncpg.Record] = await base.fetch(
                "SELECT quote_ident(tablename) AS name FROM pg_tables "
                "WHERE schemaname = $1 AND tablename <> $2",
                self.schema,
                OURS,
            )
            await base.execute(f"DROP TABLE {', '.join(row['name'] for row in names)} CASCADE")
            await base.execute(_VERSIONS)
            await base.execute(_CLEARED, identity, await _origin(base))
        self._identity, self.cleared = identity, True

    @asynccontextmanager
    async def changing(self, *, identity: str | None = None) -> AsyncIterator[asyncpg.Connection]:
        """A connection in a transaction that changes the session, and names it so if a name is given.

        Whoever opened the session later is not disturbed: raises StoreError then, and as `open`.
        """
        async with self.connected() as base:
            async with base.transaction():
                fence = await base.fetchval(f"SELECT fence FROM {OURS} FOR UPDATE")  # noqa: S608
                if fence != self._fence:
                    raise StoreError(f"session database: opened under fence {fence}, ours is {self._fence}")
                yield base
                if identity is not None:
                    await base.execute(f"UPDATE {OURS} SET identity = $1", identity)  # noqa: S608
            self._identity = identity or self._identity

    async def _make(self, base: asyncpg.Connection) -> None:
        if not await base.fetchval("SELECT to_regnamespace($1) IS NOT NULL", self._quoted):
            await base.execute(f"CREATE SCHEMA {self._quoted}")
        await base.execute(_TABLES)

    @property
    def _quoted(self) -> str:
        return f'"{self.schema}"'  # of an account's name: letters, digits, - and _

    async def _value(self, query: str, *arguments: object) -> str | None:
        async with self.connected() as base:
            try:
                value = await base.fetchval(query, *arguments)
            except _NO_TABLE:  # whatsmeow has not opened it yet
                return None
        return None if value is None else str(value)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of its own to these tables: they are rare, and asked for by more than one event loop.
        Raises StoreUnavailable, and StoreError when the database refuses."""
        try:
            base = await self.connect()
            try:
                yield base
            finally:
                base.terminate()
        except (*TROUBLE, ValueError) as error:
            raise _translated(error) from None

    async def connect(self) -> asyncpg.Connection:
        """As `connected`, for one that stays; raises what asyncpg raises."""
        return await asyncpg.connect(
            self._url,
            ssl=tls_mode(self._url),
            target_session_attrs=SessionAttribute.read_write,
            statement_cache_size=0,
            timeout=DEADLINE_S,
            command_timeout=DEADLINE_S,
            server_settings={"application_name": "beacon session", "search_path": self._quoted},
        )


async def _origin(base: asyncpg.Connection) -> str:
    try:
        async with base.transaction():
            return str(await base.fetchval(_ORIGIN))
    except _UNTOLD as error:
        log.warning("session.origin_untold", error=described(error))
        return "untold"


async def drop_ratchets(base: asyncpg.Connection) -> int:
    """Begin the encryption with everybody anew; how many sessions that were."""
    dropped = []
    for table in RATCHETS:
        if await base.fetchval("SELECT to_regclass($1) IS NOT NULL", table):
            dropped.append(await base.execute(f"DELETE FROM {table}"))  # noqa: S608
    return int(dropped[0].split()[-1]) if dropped else 0


def _new_identity() -> str:
    return secrets.token_hex(8)


def _translated(error: Exception) -> StoreError:
    kind = StoreUnavailable if passing(error) else StoreError
    return kind(f"session database: {described(error)}")

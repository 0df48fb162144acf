"""Connections of the queue to PostgreSQL: how they are set up, and what their errors mean to a caller."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from service.errors import StoreFull, StoreUnavailable
from service.postgres import TROUBLE, described, tls_mode

T = TypeVar("T")

DEADLINE_S: Final = 5.0
"""How long a caller waits at most for a database that does not answer."""

_SETTINGS: Final = """
    SET plan_cache_mode = force_custom_plan;
    SET jit = off;
    SET lock_timeout = '4s';
    SET statement_timeout = '30s';
    SET idle_in_transaction_session_timeout = '10s';
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off';
    SELECT set_config(name, 'off', false) FROM pg_settings
    WHERE name IN ('enable_seqscan', 'enable_bitmapscan', 'enable_hashjoin', 'enable_mergejoin',
                   'enable_material', 'enable_memoize', 'enable_sort', 'enable_incremental_sort')"""
"""A queue's tables grow and shrink faster than statistics follow: every statement has an index, and its plan
must not be one for an empty table. (Without sorts: ORDER BY stands only where an index or nothing else can
give it.) A process that was stopped in the middle of a transaction loses its
locks. Accepted means kept, whatever the server's default is."""


async def connect(url: str) -> asyncpg.Connection:
    """A connection that may write. Raises what asyncpg raises, ValueError for an URL it cannot read."""
    connection: asyncpg.Connection = await asyncpg.connect(
        url,
        ssl=tls_mode(url),
        target_session_attrs=SessionAttribute.read_write,  # not the old server that a failover left behind
        server_settings={"application_name": "beacon queue"},
    )
    try:
        await connection.execute(_SETTINGS)
    except BaseException:
        connection.terminate()
        raise
    return connection


def translate(error: Exception) -> StoreUnavailable:
    """The error that callers know. Its words hold nothing of the URL or of a row."""
    if isinstance(error, StoreUnavailable):
        return error
    if isinstance(error, TimeoutError):
        return StoreUnavailable("queue database: no answer in time")
    if isinstance(error, OSError):
        sentence = f"cannot be reached ({described(error)}); does it run, and is DATABASE_URL right?"
        return StoreUnavailable(f"queue database: {sentence}")
    kind = StoreFull if isinstance(error, asyncpg.DiskFullError) else StoreUnavailable
    return kind(f"queue database: {described(error)}")


def is_lost(error: Exception) -> bool:
    """The connection ended, rather than a statement failed on it."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(("08", "57P", "25P03"))
    if isinstance(error, ValueError):  # a value that PostgreSQL has no place for
        return False
    return isinstance(error, (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError))


class Readers:
    """A few connections for what needs no transaction; made when needed, ended by any error."""

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]], *, limit: int) -> None:
        self.open = False
        self._connect = connect
        self._free = asyncio.Semaphore(limit)
        self._idle: list[asyncpg.Connection] = []

    async def do(self, work: Callable[[asyncpg.Connection], Awaitable[T]], *, deadline_s: float) -> T:
        """What `work` answers; it may be begun twice. Raises StoreUnavailable."""
        try:
            async with asyncio.timeout(deadline_s), self._free:
                if not self.open:
                    raise StoreUnavailable("queue database: not open")
                while self._idle:
                    with suppress(*TROUBLE):
                        return await self._try(self._idle.pop(), work)
                return await self._try(await self._connect(), work)
        except (*TROUBLE, ValueError) as error:
            raise translate(error) from None

    async def _try(
        self, connection: asyncpg.Connection, work: Callable[[asyncpg.Connection], Awaitable[T]]
    ) -> T:
        try:
            answer = await work(connection)
        except BaseException:
            connection.terminate()
            raise
        if self.open:
            self._idle.append(connection)
        else:
            connection.terminate()
        return answer

    def close(self) -> None:
        """End them; never waits for the database."""
        self.open = False
        while self._idle:
            self._idle.pop().terminate()

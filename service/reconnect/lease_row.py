"""The lease's row in PostgreSQL: take, renew, give up, and hear of changes.

One row for each account, one connection for each process. Every instant in the row is the database's;
no time of this machine is ever written or compared. LISTEN only hurries what polling finds anyway, so a
pooler that swallows it (PgBouncer in transaction mode) costs a second and breaks nothing.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from service.postgres import TROUBLE, described, passing, tls_mode
from service.reconnect.lease_metrics import Hindrance

CHANNEL: Final = "beacon_lease"
CREATION_LOCK: Final = 0x6265_6163_6F6E  # "beacon": CREATE TABLE IF NOT EXISTS alone races with itself

TABLE: Final = """
CREATE TABLE IF NOT EXISTS beacon_lease (
    account text PRIMARY KEY,
    fence bigint NOT NULL,
    holder text NOT NULL,
    acquired_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
)"""

TAKE: Final = """
WITH taken AS (
    INSERT INTO beacon_lease AS lease (account, fence, holder, acquired_at, expires_at)
    VALUES ($1, 1, $2, clock_timestamp(), clock_timestamp() + make_interval(secs => $3))
    ON CONFLICT (account) DO UPDATE
    SET fence = lease.fence + 1, holder = excluded.holder, acquired_at = clock_timestamp(),
        expires_at = clock_timestamp() + make_interval(secs => $3)
    WHERE lease.expires_at <= clock_timestamp() OR lease.holder = excluded.holder
        OR (lease.fence = $4 AND lease.expires_at = $5)
    RETURNING account, fence
)
SELECT fence, pg_notify('beacon_lease', account) FROM taken"""

LOOK: Final = """
SELECT fence, holder, expires_at, extract(epoch FROM expires_at - clock_timestamp())::float8 AS remaining_s
FROM beacon_lease WHERE account = $1"""

RENEW: Final = """
UPDATE beacon_lease SET expires_at = clock_timestamp() + make_interval(secs => $4)
WHERE account = $1 AND holder = $2 AND fence = $3
RETURNING true"""

GIVE_UP: Final = """
WITH given AS (
    UPDATE beacon_lease SET holder = '', expires_at = to_timestamp(0)
    WHERE account = $1 AND holder = $2
    RETURNING account
)
SELECT pg_notify('beacon_lease', account) FROM given"""


class DatabaseTrouble(Exception):
    """The row could not be asked; whether a change was made is unknown."""

    def __init__(self, hindrance: Hindrance, error: str) -> None:
        super().__init__(f"{hindrance}: {error}")
        self.hindrance = hindrance
        self.error = error


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody else's lease as it was found: it changes with every renewal."""

    fence: int
    holder: str
    expires_at: datetime
    remaining_s: float

    def same(self, other: "Held | None") -> bool:
        """It was not renewed between the two looks."""
        return other is not None and (self.fence, self.expires_at) == (other.fence, other.expires_at)


class LeaseRow:
    """One account's row, seen by one holder. Every method but `close` raises DatabaseTrouble.

    After an error, a cancelled call included, the connection is gone and the next call makes a new one.
    `changed` is called on the loop when another process took the row or gave it up.
    """

    def __init__(self, url: str, *, account: str, holder: str, changed: Callable[[], None]) -> None:
        self._url = url
        self._account = account
        self._holder = holder
        self._changed = changed
        self._connection: asyncpg.Connection | None = None

    async def take(self, *, ttl_s: float, abandoned: Held | None) -> int | Held:
        """The new fence, if the row is free, expired, ours, or still as in `abandoned`; else who has it."""
        seen = (abandoned.fence, abandoned.expires_at) if abandoned else (None, None)
        async with self._connected() as connection:
            while True:
                fence: int | None = await connection.fetchval(TAKE, self._account, self._holder, ttl_s, *seen)
                if fence is not None:
                    return fence
                row = await connection.fetchrow(LOOK, self._account)
                if row is not None:
                    return Held(**row)

    async def renew(self, fence: int, *, ttl_s: float) -> bool:
        """Push the expiry back; False when another process holds it."""
        async with self._connected() as connection:
            renewed = await connection.fetchval(RENEW, self._account, self._holder, fence, ttl_s)
            return renewed is not None

    async def give_up(self) -> None:
        """Free the row if it is ours, under whatever fence."""
        async with self._connected() as connection:
            await connection.fetch(GIVE_UP, self._account, self._holder)

    def close(self) -> None:
        """Drop the connection; never waits for the database."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect()
            yield self._connection
        except (*TROUBLE, ValueError) as error:
            self.close()
            raise _told(error) from None
        except BaseException:
            self.close()
            raise

    async def _connect(self) -> asyncpg.Connection:
        connection: asyncpg.Connection = await asyncpg.connect(
            self._url,
            ssl=tls_mode(self._url),
            statement_cache_size=0,  # a pooler may give every transaction another server
            server_settings={"application_name": "beacon lease"},
        )
        try:
            if await connection.fetchval("SELECT to_regclass('beacon_lease') IS NULL"):
                async with connection.transaction():
                    await connection.execute("SELECT pg_advisory_xact_lock($1)", CREATION_LOCK)
                    await connection.execute(TABLE)
            await connection.add_listener(CHANNEL, self._heard)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _heard(self, _: object, pid: int, __: str, account: object) -> None:
        ours = self._connection is not None and self._connection.get_server_pid() == pid
        if account == self._account and not ours:
            self._changed()


def _told(error: Exception) -> DatabaseTrouble:
    return DatabaseTrouble(Hindrance.UNREACHABLE if passing(error) else Hindrance.REFUSED, described(error))

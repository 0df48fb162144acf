"""Backups in PostgreSQL 12 or newer, beside the lease and the queue.

A backup is one transaction. Its chunks go first, in pieces; the row of the account is locked only for its
end, so a new owner enters at once while an old one still sends, and the old one's transaction then fails.

A connection that was lost is replaced once, and what was to be done is done again: a COMMIT without an answer
may have counted, and everything here that is done twice is done once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import resources
from itertools import islice
from typing import Any, Final, TypeVar
from uuid import uuid4

import asyncpg
import structlog
from asyncpg.connect_utils import SessionAttribute

from service.backup import postgres_statements as sql
from service.backup.model import Kept, Sealed
from service.backup.tombstone import Tombstone
from service.clock import is_instant
from service.errors import BackupUnreadable, FenceTooOld, VaultFull, VaultUnavailable
from service.postgres import TROUBLE, described, tls_mode
from service.postgres_migrations import Schema

log = structlog.get_logger(__name__)

T = TypeVar("T")
Connection = asyncpg.pool.PoolConnectionProxy
Work = Callable[[Connection], Awaitable[T]]

SCHEMA: Final = Schema(
    name="backup",
    folder=resources.files("service.backup") / "sql",
    table="beacon_backup_migration",
    lock=0x6265_6163_6261,  # "beacba"
)

DEADLINE_S: Final = 10.0
"""For one question to the database; half a MiB of a backup is one question."""

IDLE_S: Final = 30.0
"""A connection that is not used for so long is given back: hosts allow few."""

PIECE_BYTES: Final = 512 * 1024
PIECE_CHUNKS: Final = 16
_CONNECTIONS: Final = 2


class PostgresVault:
    """A `service.backup.vault.Vault` in a database, which it may share with everything else there."""

    def __init__(
        self, url: str, *, account: str, deadline_s: float = DEADLINE_S, idle_s: float = IDLE_S
    ) -> None:
        self._url = url
        self._account = account
        self._deadline_s = deadline_s
        self._idle_s = idle_s
        self._pool: asyncpg.Pool | None = None

    async def open(self) -> None:
        """Connect, and bring the tables up to this program's. Raises StoreTooNew."""
        if self._pool is not None:
            return
        try:
            pool = await asyncpg.create_pool(
                self._url,
                min_size=0,
                max_size=_CONNECTIONS,
                max_inactive_connection_lifetime=self._idle_s,
                reset=_nothing_to_reset,
                ssl=tls_mode(self._url),
                target_session_attrs=SessionAttribute.read_write,
                statement_cache_size=0,  # a pooler may give every transaction another server
                timeout=self._deadline_s,
                command_timeout=self._deadline_s,
                server_settings={"application_name": "beacon backup"},
            )
        except (*TROUBLE, ValueError) as error:
            raise _translated(error) from None
        self._pool = pool
        try:
            await self._run(self._migrate)
        except (*TROUBLE, ValueError) as error:
            await self.close()
            raise _translated(error) from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the connections; never waits for the database."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()

    async def enter(self) -> int:
        """Begin a new epoch."""
        entry = uuid4()
        return int(await self._do(lambda base: base.fetchval(sql.ENTER, self._account, entry), write=True))

    async def epoch(self) -> int:
        """The epoch that was entered last; 0 before the first."""
        return int(await self._do(lambda base: base.fetchval(sql.EPOCH, self._account)))

    async def bury(self, *, epoch: int) -> Tombstone:
        """Note that what is kept so far is of a session that was ended. Raises FenceTooOld."""

        async def bury(base: Connection) -> Tombstone:
            _refuse_late(epoch, entered=await base.fetchval(sql.OWN, self._account, epoch))
            latest = await base.fetchval(sql.LATEST, self._account)
            tombstone = Tombstone(latest or 0, epoch)
            await base.execute(sql.BURY, self._account, tombstone.encode())
            return tombstone

        return await self._do(bury, write=True)

    async def tombstone(self) -> Tombstone | None:
        """What was noted last. Raises BackupUnreadable."""
        rows = await self._do(lambda base: _read(base, sql.TOMBSTONE, self._account))
        data = rows[0]["tombstone"] if rows else None
        return None if data is None else Tombstone.decode(data)

    async def listed(self) -> Sequence[Kept]:
        """All backups, the latest first."""
        rows = await self._do(lambda base: base.fetch(sql.LISTED, self._account))
        return [_kept(row) for row in rows]

    async def manifest(self, sequence: int) -> bytes:
        """A sealed manifest. Raises BackupUnreadable, KeyError."""
        found = await self._do(lambda base: _manifest(base, self._account, sequence))
        if found is None:
            raise KeyError(sequence)
        return found

    async def missing(self, chunk_ids: Collection[str]) -> set[str]:
        """Which of these are not kept yet."""
        rows = await self._do(lambda base: base.fetch(sql.KNOWN, self._account, list(chunk_ids)))
        return set(chunk_ids) - {row["id"] for row in rows}

    async def chunks(self, chunk_ids: Collection[str]) -> Mapping[str, bytes]:
        """Sealed chunks. Raises BackupUnreadable."""

        async def fetch(base: Connection) -> dict[str, bytes]:
            found: dict[str, bytes] = {}
            rest = iter(sorted(set(chunk_ids)))
            while piece := list(islice(rest, PIECE_CHUNKS)):
                for row in await _read(base, sql.CHUNKS, self._account, piece):
                    found[row["id"]] = row["data"]
            return found

        found = await self._do(fetch)
        if lost := set(chunk_ids) - found.keys():
            raise _lost(lost)
        return found

    async def put(self, sealed: Sealed, chunks: Mapping[str, bytes], *, epoch: int) -> None:
        """Keep a backup. Raises FenceTooOld, ValueError, BackupUnreadable."""
        await self._do(
            lambda base: _put(base, sealed, chunks, account=self._account, epoch=epoch), write=True
        )

    async def verified(self, sequence: int, *, at: float) -> None:
        """Note that it was checked. Raises KeyError."""
        if not await self._do(
            lambda base: base.fetchval(sql.VERIFIED, self._account, sequence, at), write=True
        ):
            raise KeyError(sequence)

    async def forget(self, sequences: Collection[int]) -> int:
        """Remove backups, and the chunks that no other names; the bytes freed."""

        async def forget(base: Connection) -> int:
            await base.execute(sql.LOCK, self._account)
            backups: int = await base.fetchval(sql.FORGET, self._account, list(sequences))
            swept: int = await base.fetchval(sql.SWEEP, self._account)
            return backups + swept

        return await self._do(forget, write=True)

    # --- connections ------------------------------------------------------------------------------

    async def _do(self, work: Work[T], *, write: bool = False) -> T:
        todo = _in_transaction(work) if write else work
        try:
            try:
                return await self._run(todo)
            except TROUBLE as error:
                if self._pool is None or not _worth_another(error):
                    raise
                log.info("backup.database_again", error=described(error))
                await self._pool.expire_connections()
                return await self._run(todo)
        except TROUBLE as error:
            raise _translated(error) from None

    async def _run(self, work: Work[T]) -> T:
        pool = self._pool
        if pool is None:
            raise VaultUnavailable("backup database: not open")
        connection = await pool.acquire(timeout=self._deadline_s)
        try:
            return await work(connection)
        except BaseException:
            with suppress(asyncpg.InterfaceError):  # the pool has parted from it already
                connection.terminate()  # the server takes all back; a ROLLBACK could wait for it for ever
            raise
        finally:
            await pool.release(connection)

    async def _migrate(self, connection: Connection) -> None:
        hung = asyncio.get_running_loop().call_later(self._deadline_s, connection.terminate)
        try:
            applied = await SCHEMA.migrate(connection)
        finally:
            hung.cancel()
        if applied:
            log.info("backup.database_migrated", applied=applied)


def _in_transaction(work: Work[T]) -> Work[T]:
    async def whole(base: Connection) -> T:
        await base.execute("BEGIN ISOLATION LEVEL READ COMMITTED;" + sql.SETTINGS)
        answer = await work(base)
        await base.execute("COMMIT")
        return answer

    return whole


async def _put(
    base: Connection, sealed: Sealed, chunks: Mapping[str, bytes], *, account: str, epoch: int
) -> None:
    kept = sealed.kept
    if await _is_kept(base, account, sealed):
        return
    _refuse_late(epoch, entered=await base.fetchval(sql.EPOCH, account))
    named = sorted(set(sealed.chunk_ids))
    there = {row["id"] for row in await base.fetch(sql.HOLD, account, named)}
    if lost := set(named) - there - chunks.keys():
        raise _lost(lost)
    for piece in _pieces([each for each in named if each in chunks], chunks):
        await base.execute(sql.KEEP_CHUNKS, account, piece, [chunks[each] for each in piece])
    _refuse_late(epoch, entered=await base.fetchval(sql.OWN, account, epoch))
    latest = await base.fetchval(sql.LATEST, account)
    if latest is not None and kept.sequence <= latest:
        if await _is_kept(base, account, sealed):
            return
        raise ValueError(f"sequence {kept.sequence}: {latest} is kept already")
    number = await base.fetchval(
        sql.KEEP,
        account,
        kept.sequence,
        kept.epoch,
        kept.taken_at,
        kept.clean,
        kept.key_id,
        kept.size_bytes,
        kept.stored_bytes,
        sealed.manifest,
    )
    if await base.fetchval(sql.NAME, account, number, named) != len(named):
        raise BackupUnreadable("chunks that this backup counts on are not there any more")


async def _is_kept(base: Connection, account: str, sealed: Sealed) -> bool:
    kept: bytes | None = await base.fetchval(sql.MANIFEST, account, sealed.kept.sequence)
    return kept == sealed.manifest


def _kept(row: asyncpg.Record) -> Kept:
    """What is listed is not proven: times that none can be are shown as the earliest, and as never."""
    kept = Kept(**row)
    if not is_instant(kept.taken_at):
        log.warning("backup.listing_damaged", sequence=kept.sequence)
        kept = replace(kept, taken_at=0.0)
    if kept.verified_at is not None and not is_instant(kept.verified_at):
        log.warning("backup.listing_damaged", sequence=kept.sequence)
        kept = replace(kept, verified_at=None)
    return kept


async def _manifest(base: Connection, account: str, sequence: int) -> bytes | None:
    rows = await _read(base, sql.MANIFEST, account, sequence)
    return rows[0]["manifest"] if rows else None


async def _read(base: Connection, statement: str, *arguments: Any) -> list[asyncpg.Record]:
    try:
        return await base.fetch(statement, *arguments)
    except asyncpg.InternalServerError as error:  # XX: a damaged page, a piece of a value that is not there
        raise BackupUnreadable(f"the database cannot read it: {described(error)}") from None


def _pieces(chunk_ids: Sequence[str], chunks: Mapping[str, bytes]) -> Iterator[list[str]]:
    piece: list[str] = []
    size_bytes = 0
    for each in chunk_ids:
        if piece and size_bytes + len(chunks[each]) > PIECE_BYTES:
            yield piece
            piece, size_bytes = [], 0
        piece.append(each)
        size_bytes += len(chunks[each])
    if piece:
        yield piece


def _refuse_late(epoch: int, *, entered: int) -> None:
    if epoch < entered:
        raise FenceTooOld(f"epoch {epoch}: epoch {entered} was entered since")


def _lost(chunk_ids: Collection[str]) -> BackupUnreadable:
    return BackupUnreadable(f"chunk {min(chunk_ids)[:12]}: not there any more ({len(chunk_ids)} in all)")


def _worth_another(error: Exception) -> bool:
    """The connection ended, or another transaction was in the way; a database that hangs was waited for."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(("08", "57P", "25P03", "40"))
    return not isinstance(error, (TimeoutError, ValueError))


def _translated(error: Exception) -> VaultUnavailable:
    """Its words hold nothing of the URL or of a row."""
    if isinstance(error, TimeoutError):
        return VaultUnavailable("backup database: no answer in time")
    kind = VaultFull if isinstance(error, asyncpg.DiskFullError) else VaultUnavailable
    return kind(f"backup database: {described(error)}")


async def _nothing_to_reset(connection: asyncpg.Connection) -> None:
    """Settings end with their transaction, and a transaction with its connection if not by COMMIT."""

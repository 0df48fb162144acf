"""The places where backups are kept, and what can happen to each."""

import resource
import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

import asyncpg

from service.backup.vault import Vault
from service.backup.vault_directory import DirectoryVault
from service.backup.vault_postgres import PostgresVault


class Place(Protocol):
    """One place, and the vaults in it."""

    async def vault(self, account: str) -> Vault:
        """Another process's vault, opened; closed when the test ends."""

    async def lose(self, account: str, chunk_id: str) -> None:
        """A chunk is gone."""

    async def spoil(self, account: str, chunk_id: str) -> None:
        """A chunk is there and is not what it was."""

    async def spoil_tombstone(self, account: str) -> None:
        """The mark of a session that was ended is not what it was."""

    async def damage(self, account: str, sequence: int) -> None:
        """A backup is still listed, and its manifest cannot be read."""

    def away(self) -> AbstractAsyncContextManager[None]:
        """Nobody can reach the place."""

    def full(self, account: str) -> AbstractAsyncContextManager[None]:
        """No room for a chunk of 60,000 bytes."""

    async def kept_bytes(self, account: str) -> int:
        """All that is stored of chunks."""


class InDirectory:
    """A folder."""

    def __init__(self, path: Path, stack: AsyncExitStack) -> None:
        self.path = path
        self._stack = stack

    async def vault(self, account: str) -> Vault:
        vault = DirectoryVault(self.path, account=account)
        await vault.open()
        self._stack.push_async_callback(vault.close)
        return vault

    async def lose(self, account: str, chunk_id: str) -> None:
        (self.path / account / "chunks" / chunk_id).unlink()

    async def spoil(self, account: str, chunk_id: str) -> None:
        path = self.path / account / "chunks" / chunk_id
        path.write_bytes(path.read_bytes()[::-1])

    async def spoil_tombstone(self, account: str) -> None:
        path = self.path / account / "tombstone"
        path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))

    async def damage(self, account: str, sequence: int) -> None:
        path = self.path / account / "backups" / str(sequence)
        data = bytearray(path.read_bytes())
        data[80] ^= 1
        path.write_bytes(data)

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        elsewhere = self.path.with_name("unmounted")
        self.path.rename(elsewhere)
        self.path.mkdir()  # the empty folder that a disk is mounted on
        yield
        shutil.rmtree(self.path)
        elsewhere.rename(self.path)

    @asynccontextmanager
    async def full(self, account: str) -> AsyncIterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    async def kept_bytes(self, account: str) -> int:
        return sum(path.stat().st_size for path in (self.path / account / "chunks").iterdir())


class InPostgres:
    """A database."""

    def __init__(self, url: str, look: asyncpg.Connection, stack: AsyncExitStack) -> None:
        self.url = url
        self._look = look
        self._stack = stack

    async def vault(self, account: str) -> Vault:
        vault = PostgresVault(self.url, account=account)
        self._stack.push_async_callback(vault.close)
        await vault.open()
        return vault

    async def lose(self, account: str, chunk_id: str) -> None:
        await self._look.execute(
            """WITH gone AS (
                   DELETE FROM beacon_backup_part USING beacon_backup_chunk AS kept
                   WHERE chunk = kept.number AND kept.account = $1 AND kept.id = $2)
               SELECT""",
            account,
            chunk_id,
        )
        await self._look.execute(
            "DELETE FROM beacon_backup_chunk WHERE account = $1 AND id = $2", account, chunk_id
        )

    async def spoil(self, account: str, chunk_id: str) -> None:
        await self._look.execute(
            "UPDATE beacon_backup_chunk SET data = overlay(data placing 'x' from 60) "
            "WHERE account = $1 AND id = $2",
            account,
            chunk_id,
        )

    async def spoil_tombstone(self, account: str) -> None:
        await self._look.execute(
            "UPDATE beacon_backup_owner SET tombstone = overlay(tombstone placing '2' from 1) "
            "WHERE account = $1",
            account,
        )

    async def damage(self, account: str, sequence: int) -> None:
        """The pieces that PostgreSQL keeps a long value in are gone."""
        toast = await self._look.fetchval(
            "SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = 'beacon_backup'::regclass"
        )
        value = await self._look.fetchval(
            "SELECT pg_column_toast_chunk_id(manifest) FROM beacon_backup "
            "WHERE account = $1 AND sequence = $2",
            account,
            sequence,
        )
        await self._look.execute("SET allow_system_table_mods = on")
        kind = "UPDATE pg_class SET relkind = $1 WHERE oid = $2::text::regclass"
        await self._look.execute(kind, b"r", toast)
        await self._look.execute(f"DELETE FROM {toast} WHERE chunk_id = $1", value)
        await self._look.execute(kind, b"t", toast)

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        server, _, name = self.url.rpartition("/")
        admin: asyncpg.Connection = await asyncpg.connect(f"{server}/postgres")
        try:
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = $1 AND application_name = 'beacon backup'",
                name,
            )
            yield
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        finally:
            await admin.close()

    @asynccontextmanager
    async def full(self, account: str) -> AsyncIterator[None]:
        await self._look.execute(f"""
            CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE SQLSTATE '53100' USING MESSAGE = 'could not extend file'; END $$;
            CREATE TRIGGER no_room BEFORE INSERT ON beacon_backup_chunk FOR EACH ROW
                WHEN (new.account = '{account}' AND octet_length(new.data) > 50000)
                EXECUTE FUNCTION no_room()""")
        try:
            yield
        finally:
            await self._look.execute("DROP TRIGGER no_room ON beacon_backup_chunk; DROP FUNCTION no_room")

    async def kept_bytes(self, account: str) -> int:
        return int(
            await self._look.fetchval(
                "SELECT coalesce(sum(octet_length(data)), 0) FROM beacon_backup_chunk WHERE account = $1",
                account,
            )
        )

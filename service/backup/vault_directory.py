"""Backups in a folder: another disk of this machine, or one that several machines mount."""

import asyncio
import errno
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from service.backup.directory import Directory
from service.backup.model import Kept, Sealed
from service.backup.tombstone import Tombstone
from service.errors import VaultFull, VaultUnavailable

T = TypeVar("T")

LOCK_WAIT_S: Final = 15.0
"""How long another process may write before we give up; a whole session of 50 MB takes a few seconds."""

_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DirectoryVault:
    """A `service.backup.vault.Vault` in a folder of this user alone.

    The folder's parent must be there: where a disk is not mounted, nothing is begun anew. Calls are done one
    after the other in a thread; one that is cancelled is finished nevertheless.
    """

    def __init__(self, path: Path, *, account: str, lock_wait_s: float = LOCK_WAIT_S) -> None:
        self._directory = Directory(path, account=account, lock_wait_s=lock_wait_s)
        self._thread: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Make the folders that are missing. Raises StoreTooNew."""
        if self._thread is None:
            thread = ThreadPoolExecutor(1, thread_name_prefix="backup-directory")
            try:
                await _in(thread, self._directory.make)
            except BaseException:
                thread.shutdown(wait=False)
                raise
            self._thread = thread

    async def close(self) -> None:
        """Returns when the last call has ended."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.to_thread(thread.shutdown)

    async def enter(self) -> int:
        """Begin a new epoch."""
        return await self._do(self._directory.enter)

    async def epoch(self) -> int:
        """The epoch that was entered last; 0 before the first."""
        return await self._do(self._directory.epoch)

    async def bury(self, *, epoch: int) -> Tombstone:
        """Note that what is kept so far is of a session that was ended. Raises FenceTooOld."""
        return await self._do(lambda: self._directory.bury(epoch))

    async def tombstone(self) -> Tombstone | None:
        """What was noted last. Raises BackupUnreadable."""
        return await self._do(self._directory.tombstone)

    async def listed(self) -> Sequence[Kept]:
        """All backups, the latest first. Of one whose listing is damaged only the sequence is right."""
        return await self._do(self._directory.listed)

    async def manifest(self, sequence: int) -> bytes:
        """A sealed manifest. Raises BackupUnreadable, KeyError."""
        return await self._do(lambda: self._directory.manifest(sequence))

    async def missing(self, chunk_ids: Collection[str]) -> set[str]:
        """Which of these are not kept yet."""
        return await self._do(lambda: self._directory.missing(chunk_ids))

    async def chunks(self, chunk_ids: Collection[str]) -> Mapping[str, bytes]:
        """Sealed chunks. Raises BackupUnreadable."""
        return await self._do(lambda: {each: self._directory.chunk(each) for each in chunk_ids})

    async def put(self, sealed: Sealed, chunks: Mapping[str, bytes], *, epoch: int) -> None:
        """Keep a backup. Raises FenceTooOld, ValueError, BackupUnreadable."""
        await self._do(lambda: self._directory.put(sealed, chunks, epoch=epoch))

    async def verified(self, sequence: int, *, at: float) -> None:
        """Note that it was checked. Raises KeyError."""
        await self._do(lambda: self._directory.verified(sequence, at=at))

    async def forget(self, sequences: Collection[int]) -> int:
        """Remove backups, and the chunks that no other names; the bytes freed."""
        return await self._do(lambda: self._directory.forget(set(sequences)))

    async def _do(self, work: Callable[[], T]) -> T:
        if self._thread is None:
            raise VaultUnavailable("backup folder: not open")
        return await _in(self._thread, work)


async def _in(thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, work)
    except OSError as error:
        kind = VaultFull if error.errno in _FULL else VaultUnavailable
        raise kind(f"backup folder: {error.strerror or type(error).__name__}") from error

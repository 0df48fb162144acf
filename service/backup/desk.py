"""What people may ask of a running service's backups."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from service.backup.backups import Backups
from service.backup.model import Cause, Kept
from service.backup.report import BackupStatus, Pruned, Report, Rotated, Verified
from service.backup.scheduler import Scheduler
from service.errors import VaultUnavailable


class Desk:
    """Behind HTTP and the page. A backup that was asked for counts for the schedule as any other."""

    def __init__(self, *, backups: Backups, scheduler: Scheduler) -> None:
        self._backups = backups
        self._scheduler = scheduler

    def status(self) -> BackupStatus:
        """What is known, from memory."""
        return self._backups.status()

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call it whenever something begins, gets further or ends; the answer ends that."""
        return self._backups.doings.subscribe(changed)

    async def listed(self) -> Sequence[Kept]:
        """All backups, the latest first. Raises VaultUnavailable."""
        with self._explained():
            return await self._backups.listed()

    async def back_up(self) -> Report:
        """Keep the session as it is now. Does not raise: the report says how it ended."""
        return await self._scheduler.back_up(Cause.ASKED)

    async def verify(self, sequence: int | None) -> Verified:
        """Check a backup, the newest for None, as a restore would. Raises BackupError."""
        with self._explained():
            return await self._backups.verify(sequence)

    async def prune(self) -> Pruned:
        """Forget what the rule of retention does not keep. Raises VaultUnavailable."""
        with self._explained():
            return await self._backups.prune()

    async def rotate_key(self) -> Rotated:
        """Seal the newest backup with the first of the keys that are set. Raises BackupError."""
        return await self._backups.rotate_key()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """A process that stands by has not opened the place of the backups."""
        try:
            yield
        except VaultUnavailable as error:
            status = self._backups.status()
            if status.epoch is not None or status.unprotected:
                raise
            raise VaultUnavailable(f"this process does not own the account now ({error})") from error

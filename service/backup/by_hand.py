"""What an operator does to the backups beside the service, or while none runs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from service.backup.assembly import shelf_beside, vault_of
from service.backup.local import Found, Local, SessionOnDisk
from service.backup.model import Kept
from service.backup.report import Restored
from service.backup.shelf import Shelf
from service.clock import Clock
from service.config import Settings
from service.errors import SessionInPlace

log = structlog.get_logger(__name__)


@asynccontextmanager
async def opened(settings: Settings, *, scratch: Path, clock: Clock) -> AsyncIterator[Shelf]:
    """The backups of these settings; what is done with them is done in the folder `scratch`.

    Raises SettingsError, DataDirUnusable, BackupUnreadable, StoreTooNew, VaultUnavailable.
    """
    shelf = shelf_beside(settings, scratch=scratch, clock=clock)
    await shelf.vault.open()
    try:
        yield shelf
    finally:
        await shelf.vault.close()


async def listed(settings: Settings) -> Sequence[Kept]:
    """All backups, the latest first; needs no key. Raises StoreTooNew, VaultUnavailable."""
    vault = vault_of(settings)
    await vault.open()
    try:
        return await vault.listed()
    finally:
        await vault.close()


async def restore_in_place(
    shelf: Shelf, session: SessionOnDisk, sequence: int | None, *, force: bool, clock: Clock
) -> Restored:
    """Make a backup, the newest for None, the session of this machine, its sessions with peers dropped.

    Only while DATA_DIR is held, so that no service runs on it; the shelf's scratch must be on the disk of the
    session. The service that starts next knows nothing of where this session was used, and connects with it.
    A session that was linked is in the way unless `force` is given; then it is moved aside. Raises
    SessionInPlace, and as Shelf.fetch; nothing was changed then.
    """
    local = Local(session)
    found = await asyncio.to_thread(local.look)
    if found is Found.DEVICE and not force:
        raise SessionInPlace(
            f"{local.path}: a session that can be used is there; --force moves it aside, --to FILE leaves it"
        )
    async with shelf.scratch.file() as path:
        restored = await shelf.restore_to(path, sequence)
        await asyncio.to_thread(_put, local, session, path, found, now=clock.now())
    log.info("backup.restored_by_hand", sequence=restored.sequence)
    return restored


def _put(local: Local, session: SessionOnDisk, restored: Path, found: Found, *, now: float) -> None:
    if found is not Found.NOTHING:
        local.set_aside("replaced", now=now)
    local.put_back(restored, identity=None)
    session.replaced_by_another()

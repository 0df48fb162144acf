"""What an operator does to the backups beside the service, or while none runs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from service.backup import progress
from service.backup.assembly import shelf_beside, vault_of
from service.backup.custody_postgres import taken_over
from service.backup.home import Home
from service.backup.local import Found
from service.backup.model import Kept, RestoreKind
from service.backup.progress import Step
from service.backup.report import Restored
from service.backup.restore import exact
from service.backup.shelf import Shelf
from service.backup.snapshot import drop_ratchets
from service.clock import Clock
from service.config import Settings
from service.errors import BackupMissing, SessionInPlace

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
    shelf: Shelf, home: Home, sequence: int | None, *, fence: int, force: bool, clock: Clock
) -> Restored:
    """Make a backup, the newest for None, the session of this home.

    Only while DATA_DIR is held, so that no service runs on it, and, where others reach the session, under the
    database's lease of number `fence` (else 0); the shelf's scratch must be on the disk of a session's file.
    The session comes back as it is when that lease proves that it stopped there, and else without its
    ratchets. The service that starts next connects with it, whatever was cleared or ended before.

    A session that was linked is in the way unless `force` is given; then it is set aside. Raises
    SessionInPlace, and as Shelf.fetch, and as `home` does; the session is what it was then.
    """
    began = clock.monotonic()
    undone = home.shared and await taken_over(home, fence)
    found = await home.look()
    if found is Found.DEVICE and not force:
        raise SessionInPlace(
            f"{home.place}: a session that can be used is there; --force moves it aside, --to FILE leaves it"
        )
    listed = await shelf.listed()
    if not listed:
        raise BackupMissing("there is no backup yet")
    newest = listed[0].sequence
    async with shelf.scratch.file() as path:
        manifest = (await shelf.fetch(sequence or newest, path)).manifest
        epoch, is_newest, now = await shelf.vault.epoch(), manifest.sequence == newest, clock.now()
        as_it_is = fence > 0 and exact(manifest, newest=is_newest, epoch=epoch, fence=fence, now=now)
        as_it_is = as_it_is and not undone
        dropped = 0 if as_it_is else await asyncio.to_thread(drop_ratchets, path)
        progress.at(Step.PLACING)
        identity = manifest.identity if as_it_is else None
        aside = None if found is Found.NOTHING else "replaced"
        await home.replace(path, identity=identity, aside=aside, now=now)
    if as_it_is:
        await home.note(epoch=epoch, fence=fence)
    await home.replaced_by_another()
    kind = RestoreKind.EXACT if as_it_is else RestoreKind.RATCHETS_DROPPED
    log.info("backup.restored_by_hand", sequence=manifest.sequence, kind=kind)
    return Restored(
        sequence=manifest.sequence,
        taken_at=manifest.taken_at,
        kind=kind,
        sessions_dropped=dropped,
        size_bytes=manifest.size_bytes,
        took_s=clock.monotonic() - began,
    )

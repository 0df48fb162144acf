"""The session in our hands: brought back if need be before the first login, kept once more after the last.

It sits around the lease. Who holds the lease may not connect yet: first it is made sure that the session on
hand is the one to connect with, and the vault is told that a new owner has begun.
"""

import asyncio
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog
from opentelemetry.trace import Span, Tracer

from service.backup import progress, spans
from service.backup.backups import Backups, Tenure
from service.backup.home import Home
from service.backup.local import Found, Lineage
from service.backup.metrics import BackupMetrics
from service.backup.model import Cause, Kept, RestoreKind
from service.backup.progress import Step
from service.backup.report import Restored
from service.backup.restore import SILENT_FOR_S, Plan, candidates, exact, plan
from service.backup.shelf import Fetched, Shelf
from service.backup.snapshot import drop_ratchets
from service.backup.tombstone import Tombstone
from service.clock import Clock
from service.errors import (
    BackupError,
    BackupKeyMissing,
    BackupMissing,
    BackupUnreadable,
    DataDirUnusable,
    StoreError,
    StoreTooNew,
    StoreUnavailable,
    VaultUnavailable,
)

log = structlog.get_logger(__name__)

PATIENCE_S: Final = 30.0
"""How long the vault is waited for when there is a good session without it."""

ASK_AGAIN_S: Final = 2.0
LEAVE_S: Final = 8.0


class Hurdle(StrEnum):
    """What stands between the session and its first login."""

    VAULT_UNREACHABLE = "vault_unreachable"
    BACKUP_UNREADABLE = "backup_unreadable"
    BACKUP_KEY_MISSING = "backup_key_missing"
    DISK = "disk"  # the session cannot be written, or read, here
    SESSION_UNREACHABLE = "session_unreachable"  # the database that it is in does not answer
    SESSION_REFUSED = "session_refused"  # the database that it is in does not let us


Tell = Callable[[Hurdle], None]


class Custody:
    """Admits the owner of the lease, and lets it go. `fenced`: the lease is a database's, seen by all."""

    def __init__(
        self,
        *,
        shelf: Shelf,
        backups: Backups,
        home: Home,
        fenced: bool,
        clock: Clock,
        metrics: BackupMetrics,
        tracer: Tracer,
    ) -> None:
        self._shelf = shelf
        self._backups = backups
        self._home = home
        self._fenced = fenced
        self._clock = clock
        self._metrics = metrics
        self._tracer = tracer
        self._fence = 0

    async def clear_the_way(self) -> None:
        """Before anything runs: remove leftovers, and move a damaged session aside; of one that lost its last
        transactions the ratchets go. Raises BackupError, DataDirUnusable."""
        await self._shelf.scratch.clear()
        if self._home.shared:
            return
        behind = await self._home.behind()
        found = await self._home.look()
        if found is Found.DAMAGED:
            await self._set_aside("bad")
        elif found is Found.DEVICE and behind:
            log.error("backup.session_behind")
            await self._renew()

    async def admit(self, fence: int, tell: Tell) -> None:
        """Return when the session may connect; `tell` hears what keeps it from that, at each change."""
        self._fence = fence if self._fenced else 0
        began = self._clock.monotonic()
        told: Hurdle | None = None
        while True:
            try:
                await self._take_over(self._clock.monotonic() - began)
            except (BackupError, StoreError, DataDirUnusable, OSError) as error:
                hurdle = hurdle_of(error)
                if hurdle is not told:
                    log.warning("backup.hindered", hurdle=hurdle, error=str(error))
                    tell(hurdle)
                    told = hurdle
            else:
                return
            await self._clock.sleep(ASK_AGAIN_S)

    async def enter_late(self) -> None:
        """Begin our epoch, if the account is connected without one. Raises VaultUnavailable, StoreError."""
        if self._backups.unprotected:
            await self._shelf.vault.open()
            lineage = await self._home.lineage()
            epoch = await self._enter()
            if lineage is not None and lineage.epoch < epoch - 1:
                log.error("backup.connected_behind", epoch=epoch, local_epoch=lineage.epoch)
            log.info("backup.protected_again", epoch=epoch)

    async def enter_again(self) -> None:
        """Another epoch than ours was entered while the database's lease is ours: by a process that had lost
        it and was slow. Without a database nobody knows who is right. Raises VaultUnavailable."""
        if self._fenced and self._backups.tenure is not None:
            log.warning("backup.entered_again", epoch=await self._enter())

    async def bury(self) -> bool:
        """The session was ended on purpose: what is kept of it comes back no more by itself, here or
        anywhere. False: nothing was done, for a device is here, another or still the same. Raises
        VaultUnavailable, FenceTooOld."""
        tenure = self._backups.tenure
        if tenure is None or await self._home.look() is Found.DEVICE:
            return False
        tombstone = await self._shelf.vault.bury(epoch=tenure.epoch)
        log.warning("backup.buried", epoch=tombstone.epoch, up_to=tombstone.sequence)
        return True

    async def leave(self) -> None:
        """The engine has ended for good: keep where the session stopped. Never longer than 8 s."""
        if self._backups.tenure is None:
            return
        try:
            async with asyncio.timeout(LEAVE_S):
                if await self._home.cleared():
                    await self.bury()
                await self._backups.back_up(Cause.STOP)
        except TimeoutError:
            log.warning("backup.stop_cut_short", after_s=LEAVE_S)
        except (BackupError, StoreError, DataDirUnusable, OSError) as error:
            log.warning("backup.not_buried", error=str(error))
        finally:
            self._backups.end()

    def lapse(self) -> None:
        """The lease is lost: somebody else may own the session by now."""
        self._backups.end()

    # --- taking over --------------------------------------------------------------------------------

    async def _take_over(self, waited_s: float) -> None:
        undone = await self._home.open(self._fence)
        found = await self._home.look()
        if found is Found.DAMAGED:
            await self._set_aside("bad")
            found = Found.NOTHING
        lineage = await self._home.lineage()
        gap = self._fenced and lineage is not None and self._fence != lineage.fence + 1
        try:
            await self._shelf.vault.open()
            epoch, listed = await self._shelf.vault.epoch(), await self._shelf.listed()
            tombstone = await self._tombstone(found)
        except VaultUnavailable as error:
            if found is Found.NOTHING and not await self._home.cleared():
                raise
            if waited_s < PATIENCE_S or self._may_count_as_clean(lineage, waited_s):
                raise
            await self._go_on_without(found, lineage, gap=gap, error=error)
            return
        self._backups.saw(listed)
        if tombstone is not None:
            listed = [kept for kept in listed if kept.sequence > tombstone.sequence]
            if found is not Found.NOTHING and lineage is not None and lineage.epoch < tombstone.epoch:
                await self._set_aside("ended")  # elsewhere, since it was used here
                found, lineage = Found.NOTHING, None
        cleared = await self._home.cleared()
        todo = plan(found, lineage, cleared=cleared, listed=listed, epoch=epoch, gap=gap)
        log.info("backup.plan", plan=todo, found=found, epoch=epoch, backups=len(listed))
        if todo is Plan.FETCH:
            await self._bring_back(found, lineage, listed, undone=undone)
            return
        if todo is Plan.RENEW:
            await self._renew()
        await self._enter()

    async def _tombstone(self, found: Found) -> Tombstone | None:
        try:
            return await self._shelf.vault.tombstone()
        except BackupUnreadable as error:
            if found is Found.NOTHING:
                raise
            log.error("backup.tombstone_unreadable", error=str(error))  # noqa: TRY400
            return None

    async def _bring_back(
        self, found: Found, lineage: Lineage | None, listed: Sequence[Kept], *, undone: bool
    ) -> None:
        with self._backups.doings.begin("bringing back the session"), spans.restore(self._tracer) as span:
            choice = candidates(found, lineage, listed)
            try:
                await self._restore(found, choice, listed, span, undone=undone)
            except BackupUnreadable as error:
                if found is Found.NOTHING:
                    raise
                log.error("backup.unreadable_local_used", error=str(error))  # noqa: TRY400
                await self._renew()
                await self._enter()

    async def _restore(
        self, found: Found, choice: Sequence[Kept], listed: Sequence[Kept], span: Span, *, undone: bool
    ) -> None:
        began = self._clock.monotonic()
        async with self._shelf.scratch.file() as path:
            fetched = await self._fetch_best(choice, path)
            span.add_event("fetched")
            epoch = await self._shelf.vault.enter()
            manifest = fetched.manifest
            now = self._clock.now()
            newest = manifest.sequence == listed[0].sequence
            proven = exact(manifest, newest=newest, epoch=epoch - 1, fence=self._fence, now=now)
            stopped_here = proven and not undone
            dropped = 0 if stopped_here else await asyncio.to_thread(drop_ratchets, path)
            span.add_event("ratchets dropped" if not stopped_here else "exact")
            identity = manifest.identity if stopped_here else None
            aside = None if found is Found.NOTHING else "stale"
            progress.at(Step.PLACING)
            await self._home.replace(path, identity=identity, aside=aside, now=now)
            if aside is not None:
                log.warning("backup.session_set_aside", label=aside)
            span.add_event("in place")
        await self._note(epoch)
        restored = Restored(
            sequence=manifest.sequence,
            taken_at=manifest.taken_at,
            kind=RestoreKind.EXACT if stopped_here else RestoreKind.RATCHETS_DROPPED,
            sessions_dropped=dropped,
            size_bytes=manifest.size_bytes,
            took_s=self._clock.monotonic() - began,
        )
        if newest:
            self._shelf.remember(fetched)
        self._backups.brought_back(restored, manifest)
        self._metrics.dropped(dropped)
        self._backups.begin(Tenure(epoch, self._fence))
        spans.ended(span, restored.kind, good=True)
        log.warning(
            "backup.restored",
            kind=restored.kind,
            sequence=restored.sequence,
            age_s=round(self._clock.now() - restored.taken_at, 1),
            sessions_dropped=dropped,
            took_s=round(restored.took_s, 3),
        )

    async def _fetch_best(self, choice: Sequence[Kept], path: Path) -> Fetched:
        """The latest that can be read; the key that one is sealed with must be there all the same."""
        for kept in choice:
            try:
                return await self._shelf.fetch(kept.sequence, path)
            except BackupKeyMissing:
                raise
            except (BackupUnreadable, BackupMissing) as error:
                log.error("backup.unreadable", sequence=kept.sequence, error=str(error))  # noqa: TRY400
        raise BackupUnreadable(f"none of {len(choice)} backups can be read")

    async def _renew(self) -> None:
        dropped = await self._home.drop_ratchets()
        self._metrics.dropped(dropped)
        log.warning("backup.ratchets_dropped", sessions_dropped=dropped)

    async def _enter(self) -> int:
        epoch = await self._shelf.vault.enter()
        await self._note(epoch)
        self._backups.begin(Tenure(epoch, self._fence))
        return epoch

    async def _note(self, epoch: int) -> None:
        lineage = await self._home.lineage()
        adopted = lineage is not None and lineage.adopted
        await self._home.note(epoch=epoch, fence=self._fence, adopted=adopted)

    # --- without the vault --------------------------------------------------------------------------

    def _may_count_as_clean(self, lineage: Lineage | None, waited_s: float) -> bool:
        """Somewhere else our last backup could still be taken for the last state, were we to connect now."""
        if self._fenced or lineage is None or lineage.clean_at is None or waited_s >= SILENT_FOR_S:
            return False
        return self._clock.now() < lineage.clean_at + SILENT_FOR_S

    async def _go_on_without(
        self, found: Found, lineage: Lineage | None, *, gap: bool, error: VaultUnavailable
    ) -> None:
        if gap and found is Found.DEVICE:
            await self._renew()
        if lineage is not None:
            await self._home.note(epoch=lineage.epoch, fence=self._fence, adopted=lineage.adopted)
        self._backups.go_unprotected()
        log.error("backup.unprotected", error=str(error))

    async def _set_aside(self, label: str) -> None:
        await self._home.set_aside(label, now=self._clock.now())
        log.warning("backup.session_set_aside", label=label)


def hurdle_of(error: Exception) -> Hurdle:
    """What such an error stands for."""
    match error:
        case VaultUnavailable():
            return Hurdle.VAULT_UNREACHABLE
        case BackupKeyMissing():
            return Hurdle.BACKUP_KEY_MISSING
        case BackupUnreadable() | StoreTooNew():
            return Hurdle.BACKUP_UNREADABLE
        case StoreUnavailable():
            return Hurdle.SESSION_UNREACHABLE
        case StoreError():
            return Hurdle.SESSION_REFUSED
        case _:
            return Hurdle.DISK

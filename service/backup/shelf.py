"""One account's backups: what is there, what is in them, and one more of them.

Knows keys, format and vault, and nothing of leases or of who may write: the vault refuses what an earlier
epoch still writes.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import structlog

from service.backup import progress
from service.backup.archive import Known, Prepared, prepare, unseal
from service.backup.checks import check
from service.backup.chunks import PAGE_BYTES
from service.backup.keys import Keys
from service.backup.manifests import unseal_manifest
from service.backup.metrics import BackupMetrics
from service.backup.model import Kept, Manifest, RestoreKind
from service.backup.progress import Step
from service.backup.report import Finding, Pruned, Restored, Rotated, Verified
from service.backup.retention import superfluous
from service.backup.scratch import Scratch
from service.backup.snapshot import Facts, drop_ratchets
from service.backup.vault import Vault
from service.clock import Clock
from service.errors import (
    BackupError,
    BackupKeyMissing,
    BackupMissing,
    BackupUnreadable,
    SnapshotRefused,
    VaultUnavailable,
)

log = structlog.get_logger(__name__)

PIECE_CHUNKS: Final = 64
"""So many are fetched before it is told how far it is; at most 4 MiB of the session."""

Show = Callable[[Path], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A backup brought to a file and proven."""

    manifest: Manifest
    facts: Facts
    known: Known


@dataclass(frozen=True, slots=True)
class Added:
    """A backup that is kept now; `saved_bytes` of it had been there before."""

    kept: Kept
    saved_bytes: int


class Shelf:
    """Backups in one vault. Every method raises VaultUnavailable when that cannot be used."""

    def __init__(
        self,
        *,
        vault: Vault,
        keys: Keys,
        account: str,
        scratch: Scratch,
        clock: Clock,
        metrics: BackupMetrics,
    ) -> None:
        self.vault = vault
        self.keys = keys
        self.scratch = scratch
        self._account = account
        self._clock = clock
        self._metrics = metrics
        self._known: Known | None = None
        self.damaged = False
        """The newest backup was found to be unreadable: the next one counts on nothing that is there."""
        self.count: int | None = None
        """How many backups there are; None before it was seen."""

    # --- what is there ------------------------------------------------------------------------------

    async def listed(self) -> Sequence[Kept]:
        """All backups, the latest first."""
        listed = await self.vault.listed()
        self._counted(len(listed))
        if listed:
            self._metrics.last_verified.set(max(kept.verified_at or 0.0 for kept in listed))
        return listed

    async def manifest(self, sequence: int) -> Manifest:
        """What a backup says of itself. Raises BackupMissing, BackupUnreadable, BackupKeyMissing."""
        try:
            data = await self.vault.manifest(sequence)
        except KeyError as error:
            raise BackupMissing(f"there is no backup {sequence}") from error
        return await asyncio.to_thread(
            unseal_manifest, data, self.keys, account=self._account, sequence=sequence
        )

    async def fetch(self, sequence: int, target: Path) -> Fetched:
        """Bring a backup to a file, whole and checked as a session. Raises BackupMissing, BackupUnreadable,
        BackupKeyMissing, BackupError when the file cannot be written."""
        manifest = await self.manifest(sequence)
        chunks = await self._chunks(manifest)
        progress.at(Step.OPENING)
        known = await asyncio.to_thread(unseal, manifest, chunks, target, self.keys)
        progress.at(Step.CHECKING)
        try:
            facts = await asyncio.to_thread(
                check, target, expected_device=manifest.device_jid, before=manifest.rows
            )
        except SnapshotRefused as refused:
            await asyncio.to_thread(target.unlink, missing_ok=True)
            raise BackupUnreadable(
                f"backup {sequence} holds no session that can be run: {refused}"
            ) from refused
        return Fetched(manifest, facts, known)

    async def verify(self, sequence: int | None = None, *, show: Show | None = None) -> Verified:
        """Fetch a backup, the newest unless told, and check it as a restore would; `show` gets the file while
        it is there. Raises as `fetch`."""
        began = self._clock.monotonic()
        try:
            async with self.scratch.file() as target:
                number = sequence or await self._newest()
                fetched = await self.fetch(number, target)
                if show is not None:
                    await show(target)
            at = self._clock.now()
            await self._note_verified(number, at=at)
        except BaseException as error:
            if sequence is None and isinstance(error, BackupUnreadable):
                self._known, self.damaged = None, True
            if (finding := _finding(error)) is not None:
                self._metrics.verified(finding)
                log.warning("backup.unverified", finding=finding, error=str(error))
            raise
        if sequence is None:
            self._known, self.damaged = fetched.known, False
            self._metrics.last_verified.set(at)
        self._metrics.verified(Finding.VERIFIED)
        verified = Verified(
            sequence=number,
            taken_at=fetched.manifest.taken_at,
            at=at,
            size_bytes=fetched.manifest.size_bytes,
            took_s=self._clock.monotonic() - began,
        )
        log.info("backup.verified", sequence=number, took_s=round(verified.took_s, 3))
        return verified

    # --- one more -----------------------------------------------------------------------------------

    async def learn(self, *, show: Show) -> None:
        """Find out what the newest backup holds, so that the next one stores only what is new."""
        if self._known is None:
            try:
                await self.verify(show=show)
            except (BackupMissing, BackupUnreadable) as error:
                log.info("backup.stored_whole", why=str(error))

    def remember(self, fetched: Fetched) -> None:
        """The newest backup was fetched."""
        self._known = fetched.known

    async def add(
        self,
        path: Path,
        facts: Facts,
        *,
        epoch: int,
        fence: int,
        taken_at: float,
        clean: bool,
        identity: str,
        writing_as: int | None = None,
    ) -> Added:
        """Keep the session in that file, which must stay as it is. `writing_as` is the epoch that may write,
        when it is not the one that the backup tells of. Raises FenceTooOld, VaultFull, BackupError."""
        listed = await self.vault.listed()

        def laid_out(known: Known | None) -> Prepared:
            return prepare(
                path,
                facts,
                keys=self.keys,
                account=self._account,
                sequence=listed[0].sequence + 1 if listed else 1,
                epoch=epoch,
                fence=fence,
                taken_at=taken_at,
                clean=clean,
                identity=identity,
                known=known,
            )

        progress.at(Step.SEALING)
        prepared = await asyncio.to_thread(laid_out, self._known)
        missing = await self.vault.missing(prepared.chunk_ids)
        if (lost := prepared.lost(missing)) and self._known is not None:
            log.warning("backup.chunks_lost", chunks=len(lost))
            prepared = await asyncio.to_thread(laid_out, self._known.without(lost))
            missing = await self.vault.missing(prepared.chunk_ids)
        if whole := self.damaged:  # a chunk that is there may be the one that cannot be read
            missing = set(prepared.chunk_ids)
        sealed, chunks = await asyncio.to_thread(prepared.seal, missing)
        progress.at(Step.STORING)
        await self.vault.put(sealed, chunks, epoch=epoch if writing_as is None else writing_as)
        self._known = prepared.known
        if whole:
            self.damaged = False
            log.warning("backup.stored_whole", sequence=sealed.kept.sequence, chunks=len(chunks))
        new_bytes = PAGE_BYTES * sum(len(prepared.fresh[chunk]) for chunk in missing)
        self._counted(len(listed) + 1)
        return Added(sealed.kept, max(0, facts.size_bytes - new_bytes))

    # --- by hand ------------------------------------------------------------------------------------

    async def restore_to(self, file: Path, sequence: int | None = None) -> Restored:
        """Bring a backup, the newest unless told, to a file that is not there yet, its sessions with peers
        dropped: whoever has it in hand cannot know what was written since. Raises as `fetch`."""
        if await asyncio.to_thread(file.exists):
            raise BackupError(f"{file}: is there already; nothing is overwritten")
        began = self._clock.monotonic()
        number = sequence or await self._newest()
        fetched = await self.fetch(number, file)
        try:
            dropped = await asyncio.to_thread(drop_ratchets, file)
        except BaseException:
            await asyncio.to_thread(file.unlink, missing_ok=True)
            raise
        log.info("backup.restored_to_file", sequence=number, sessions_dropped=dropped)
        return Restored(
            sequence=number,
            taken_at=fetched.manifest.taken_at,
            kind=RestoreKind.RATCHETS_DROPPED,
            sessions_dropped=dropped,
            size_bytes=fetched.manifest.size_bytes,
            took_s=self._clock.monotonic() - began,
        )

    async def prune(self) -> Pruned:
        """Forget what the rule of retention does not keep."""
        old = superfluous(await self.listed(), now=self._clock.now())
        freed = await self.vault.forget(old) if old else 0
        if old:
            self._metrics.forgot(len(old))
            self._counted(len(await self.vault.listed()))
            log.info("backup.pruned", backups=len(old), freed_bytes=freed)
        return Pruned(forgotten=tuple(old), freed_bytes=freed)

    async def rotate_key(self, *, writing_as: int | None = None) -> Rotated:
        """Seal the newest backup anew, with the first key, as what it is; older ones stay as they are.

        `writing_as` is the epoch that may write; without it, the one entered last: then no service may be
        running on this account. Raises as `fetch` and `add`.
        """
        newest = (await self.vault.listed())[:1]
        if not newest:
            raise BackupMissing("there is no backup yet")
        changed = newest[0].key_id != self.keys.sealing.id
        if changed:
            epoch = await self.vault.epoch() if writing_as is None else writing_as
            await self._seal_anew(newest[0].sequence, writing_as=epoch)
            log.info("backup.key_rotated", key=self.keys.sealing.id)
        listed = await self.listed()
        others = Counter(kept.key_id for kept in listed if kept.key_id != self.keys.sealing.id)
        return Rotated(
            sequence=listed[0].sequence, key_id=self.keys.sealing.id, changed=changed, others=dict(others)
        )

    # --- how ----------------------------------------------------------------------------------------

    def _counted(self, count: int) -> None:
        self.count = count
        self._metrics.kept.set(count)

    async def _seal_anew(self, sequence: int, *, writing_as: int) -> None:
        async with self.scratch.file() as path:
            fetched = await self.fetch(sequence, path)
            was = fetched.manifest
            await self.add(
                path,
                fetched.facts,
                epoch=was.epoch,
                fence=was.fence,
                taken_at=was.taken_at,
                clean=was.clean,
                identity=was.identity,
                writing_as=writing_as,
            )

    async def _chunks(self, manifest: Manifest) -> Mapping[str, bytes]:
        """All of a backup's, some at a time."""
        sizes = {ref.id: ref.size_bytes for ref in manifest.chunks}
        total_bytes, done_bytes = sum(sizes.values()), 0
        found: dict[str, bytes] = {}
        rest = iter(sizes)
        while piece := list(islice(rest, PIECE_CHUNKS)):
            progress.at(Step.FETCHING, done_bytes=done_bytes, total_bytes=total_bytes)
            found |= await self.vault.chunks(piece)
            done_bytes += sum(sizes[each] for each in piece)
        return found

    async def _newest(self) -> int:
        listed = await self.listed()
        if not listed:
            raise BackupMissing("there is no backup yet")
        return listed[0].sequence

    async def _note_verified(self, sequence: int, *, at: float) -> None:
        try:
            await self.vault.verified(sequence, at=at)
        except KeyError:  # forgotten since
            log.info("backup.verified_and_forgotten", sequence=sequence)


def _finding(error: BaseException) -> Finding | None:
    match error:
        case BackupMissing():
            return None
        case BackupKeyMissing():
            return Finding.KEY_MISSING
        case BackupUnreadable():
            return Finding.UNREADABLE
        case VaultUnavailable():
            return Finding.UNREACHABLE
        case BackupError():
            return Finding.FAILED
    return None

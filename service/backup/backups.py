"""The backups of one account, as the rest of the service sees them: made, listed, checked, brought back."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from opentelemetry.trace import Span, Tracer

from service.backup import progress, spans
from service.backup.checks import check
from service.backup.home import Home
from service.backup.metrics import BackupMetrics
from service.backup.model import Cause, Kept, Manifest, Refusal
from service.backup.progress import Doings, Step
from service.backup.report import (
    BackupStatus,
    Outcome,
    Pruned,
    Report,
    Restored,
    Rotated,
    Verified,
)
from service.backup.shelf import Shelf
from service.backup.snapshot import Facts
from service.clock import Clock
from service.engine.protocol import AnyEvent, Undecryptable, Unread
from service.errors import (
    BackupError,
    BackupMissing,
    BackupUnreadable,
    DataDirUnusable,
    FenceTooOld,
    SnapshotRefused,
    StoreError,
    VaultFull,
    VaultUnavailable,
)

log = structlog.get_logger(__name__)

FAILURES: Final[tuple[tuple[type[Exception], Outcome], ...]] = (
    (SnapshotRefused, Outcome.REFUSED),
    (VaultFull, Outcome.FULL),
    (VaultUnavailable, Outcome.UNREACHABLE),
    (FenceTooOld, Outcome.FENCED),
    (BackupError, Outcome.FAILED),
    (DataDirUnusable, Outcome.FAILED),
    (StoreError, Outcome.FAILED),  # the database that the session is in
    (OSError, Outcome.FAILED),
    (ValueError, Outcome.FAILED),  # another backup of that number came in between
)
"""What an error means for a backup; the first that fits."""

NOT_OURS: Final = "this process does not own the account's session now, so it makes no backups"

CRASHED: Final = "the backup failed in a way that is not foreseen; the log has more"
FOREIGN: Final = (
    "the session is of another phone number than the backups: give it an ACCOUNT of its own, or clear it and "
    "link the phone while backups are on"
)


@dataclass(frozen=True, slots=True)
class Tenure:
    """The right to write backups; `fence` is 0 under a lease that proves nothing to other machines."""

    epoch: int
    fence: int


@dataclass(frozen=True, slots=True)
class _Good:
    """What is remembered of the last good copy."""

    device_jid: str
    rows: Mapping[str, int]
    sequence: int
    sha256: str
    epoch: int


class Backups:
    """Makes backups while it has a tenure. One at a time, whoever asks."""

    def __init__(
        self,
        *,
        shelf: Shelf,
        home: Home,
        place: str,
        clock: Clock,
        metrics: BackupMetrics,
        tracer: Tracer,
    ) -> None:
        self._shelf = shelf
        self._home = home
        self._place = place
        self._clock = clock
        self._metrics = metrics
        self._tracer = tracer
        self._one = asyncio.Lock()
        self._tenure: Tenure | None = None
        self._good: _Good | None = None
        self._learned = False
        self.doings = Doings(clock)
        """What is being done for the backups."""
        self._last: Report | None = None
        self._last_success_at: float | None = None
        self._last_verified_at: float | None = None
        self._verify_trouble: str | None = None
        self._restore: Restored | None = None
        self._restored_at: float | None = None
        self._undecryptable = 0
        self.unprotected = False
        """Connected without a tenure, because the vault did not answer."""
        metrics.enabled.set(1)

    # --- what others ask for ------------------------------------------------------------------------

    async def back_up(self, cause: Cause) -> Report:
        """Keep the session as it is now. Does not raise: the report says how it ended."""
        async with self._one:
            began = self._clock.monotonic()
            with self.doings.begin("making a backup"), spans.backup(self._tracer, cause) as span:
                report = await self._report(cause, span, began)
                spans.ended(span, report.outcome, good=report.outcome.success)
                self._metrics.ran(cause, report.outcome, seconds=report.took_s)
        self._tell(report)
        return report

    async def listed(self) -> Sequence[Kept]:
        """All backups, the latest first. Raises VaultUnavailable."""
        return await self._shelf.listed()

    async def verify(self, sequence: int | None = None) -> Verified:
        """Fetch a backup, the newest unless told, and check it as a restore would.

        Raises BackupMissing, BackupUnreadable, BackupKeyMissing, VaultUnavailable, BackupError.
        """
        with self.doings.begin("checking a backup"), spans.verify(self._tracer):
            try:
                verified = await self._shelf.verify(sequence)
            except BackupMissing:
                raise  # says nothing about those that are there
            except BackupError as error:
                self._verify_trouble = str(error)
                raise
        if sequence is None:
            self._last_verified_at, self._verify_trouble = verified.at, None
        return verified

    async def restore_to(self, file: Path, sequence: int | None = None) -> Restored:
        """Bring a backup to a new file; see Shelf.restore_to."""
        with self.doings.begin("bringing back a session"), spans.restore(self._tracer):
            return await self._shelf.restore_to(file, sequence)

    async def prune(self) -> Pruned:
        """Forget what the rule of retention does not keep. Raises VaultUnavailable."""
        return await self._shelf.prune()

    async def rotate_key(self) -> Rotated:
        """Seal the newest backup with the first key. Raises FenceTooOld without a tenure, and as `verify`."""
        if self._tenure is None:
            raise FenceTooOld(NOT_OURS)
        async with self._one:
            with self.doings.begin("changing the key"):
                return await self._shelf.rotate_key(writing_as=self._tenure.epoch)

    def status(self) -> BackupStatus:
        """What is known, from memory."""
        last = self._last
        failed = last is not None and not last.outcome.success
        return BackupStatus(
            enabled=True,
            place=self._place,
            local_key=self._shelf.keys.local,
            epoch=None if self._tenure is None else self._tenure.epoch,
            unprotected=self.unprotected,
            progress=self.doings.now,
            kept=self._shelf.count,
            last_success_at=self._last_success_at,
            last_sequence=None if self._good is None else self._good.sequence,
            last_outcome=None if last is None else last.outcome,
            trouble=last.sentence if last is not None and failed else None,
            last_verified_at=self._last_verified_at,
            verify_trouble=self._verify_trouble,
            restored_at=self._restored_at,
            restore=self._restore,
            undecryptable=self._undecryptable,
        )

    def hear(self, event: AnyEvent) -> None:
        """Count what a restore may have cost."""
        match event:
            case Undecryptable(reason=Unread.ASKED_AGAIN) if self._restore is not None:
                self._undecryptable += 1
                self._metrics.undecryptable()

    # --- what the custody says ----------------------------------------------------------------------

    @property
    def tenure(self) -> Tenure | None:
        """The right to write, while there is one."""
        return self._tenure

    def begin(self, tenure: Tenure) -> None:
        """From now on backups may be written."""
        self._tenure = tenure
        self.unprotected = False
        self._metrics.unprotected.set(0)
        self._metrics.epoch.set(tenure.epoch)

    def end(self) -> None:
        """From now on none may be."""
        self._tenure = None
        self.unprotected = False
        self._metrics.unprotected.set(0)
        self._metrics.epoch.set(0)

    def go_unprotected(self) -> None:
        """The account is connected and the vault does not answer."""
        self.unprotected = True
        self._metrics.unprotected.set(1)

    def saw(self, listed: Sequence[Kept]) -> None:
        """What was in the vault when the account was taken over."""
        if listed:
            self._success_at(listed[0].taken_at)
            self._last_verified_at = max(kept.verified_at or 0.0 for kept in listed) or None

    def brought_back(self, restored: Restored, manifest: Manifest) -> None:
        """The session in use is that of this backup."""
        now = self._clock.now()
        self._restore, self._restored_at, self._undecryptable = restored, now, 0
        self._remember(manifest)
        self._metrics.restored(restored, at=now)

    # --- how ----------------------------------------------------------------------------------------

    async def _report(self, cause: Cause, span: Span, began: float) -> Report:
        if (tenure := self._tenure) is None:
            return Report(cause=cause, outcome=Outcome.NOT_OWNER, sentence=NOT_OURS, took_s=0.0)
        try:
            report = await self._keep(cause, tenure, span, began)
        except tuple(kind for kind, _ in FAILURES) as error:
            if isinstance(error, SnapshotRefused):
                self._metrics.refused(Refusal(error.reason), at=self._clock.now())
            outcome = next(outcome for kind, outcome in FAILURES if isinstance(error, kind))
            took_s = self._clock.monotonic() - began
            return Report(cause=cause, outcome=outcome, sentence=str(error), took_s=took_s)
        except Exception:  # a backup that fails in a way that nobody foresaw must not end the service
            log.exception("backup.crashed")
            took_s = self._clock.monotonic() - began
            return Report(cause=cause, outcome=Outcome.FAILED, sentence=CRASHED, took_s=took_s)
        self._success_at(self._clock.now())
        return report

    async def _keep(self, cause: Cause, tenure: Tenure, span: Span, began: float) -> Report:
        await self._learn()
        lineage = await self._home.lineage()
        adopted = lineage is not None and lineage.adopted
        async with self._shelf.scratch.file() as path:
            taken_at, identity = self._clock.now(), await self._home.identity()
            progress.at(Step.COPYING)
            await self._home.copy(path)
            span.add_event("snapshot taken")
            progress.at(Step.CHECKING)
            facts = await asyncio.to_thread(self._checked, path, adopted=adopted)
            span.add_event("checked")
            good, clean = self._good, cause is Cause.STOP
            same = good is not None and (good.sha256, good.epoch) == (facts.sha256, tenure.epoch)
            same = same and not self._shelf.damaged
            if good is not None and same and not clean and await self._still_kept(good, tenure):
                return self._unchanged(cause, good, facts, began)
            added = await self._shelf.add(
                path,
                facts,
                epoch=tenure.epoch,
                fence=tenure.fence,
                taken_at=taken_at,
                clean=clean,
                identity=identity,
            )
            span.add_event("kept", {"stored_bytes": added.kept.stored_bytes})
        self._metrics.cost(
            read_bytes=facts.size_bytes, stored_bytes=added.kept.stored_bytes, saved_bytes=added.saved_bytes
        )
        sequence = added.kept.sequence
        self._good = _Good(facts.device_jid, facts.rows, sequence, facts.sha256, tenure.epoch)
        await self._settle(tenure, taken_at if clean else None)
        if not clean:
            await self._prune_quietly()
        return Report(
            cause=cause,
            outcome=Outcome.KEPT,
            sentence=f"the session is kept as backup {sequence}",
            took_s=self._clock.monotonic() - began,
            sequence=sequence,
            size_bytes=facts.size_bytes,
            stored_bytes=added.kept.stored_bytes,
        )

    async def _still_kept(self, good: _Good, tenure: Tenure) -> bool:
        """What nobody asks the vault, it cannot refuse. Raises FenceTooOld, VaultUnavailable."""
        if (epoch := await self._shelf.vault.epoch()) > tenure.epoch:
            raise FenceTooOld(f"epoch {tenure.epoch}: epoch {epoch} was entered since")
        return any(kept.sequence == good.sequence for kept in await self._shelf.listed())

    def _unchanged(self, cause: Cause, good: _Good, facts: Facts, began: float) -> Report:
        return Report(
            cause=cause,
            outcome=Outcome.UNCHANGED,
            sentence=f"backup {good.sequence} holds the session as it is",
            took_s=self._clock.monotonic() - began,
            sequence=good.sequence,
            size_bytes=facts.size_bytes,
        )

    def _checked(self, path: Path, *, adopted: bool) -> Facts:
        """Blocks. What the copy is, if it may stand in for the last good one. Raises SnapshotRefused."""
        good = self._good
        if good is None or adopted:
            return check(path, expected_device=None, before=None)
        try:
            return check(path, expected_device=good.device_jid, before=good.rows)
        except SnapshotRefused as refused:
            if refused.reason != Refusal.FOREIGN_DEVICE:
                raise
        facts = check(path, expected_device=None, before=None)
        if _number(facts.device_jid) != _number(good.device_jid):
            raise SnapshotRefused(Refusal.FOREIGN_DEVICE, FOREIGN)
        return facts  # the same phone, linked anew

    async def _settle(self, tenure: Tenure, clean_at: float | None) -> None:
        """The backups are of the session that is here."""
        clean_at = clean_at if tenure.fence == 0 else None
        await self._home.note(epoch=tenure.epoch, fence=tenure.fence, clean_at=clean_at)
        await self._home.replaced_by_another()

    async def _learn(self) -> None:
        """Once: what the newest backup says of itself and of its bytes."""
        if self._learned:
            return
        listed = await self._shelf.listed()
        if listed:
            if self._good is None:
                await self._remember_newest(listed[0].sequence)
            await self._shelf.learn(show=self._home.resemble)
        self._learned = True

    async def _remember_newest(self, sequence: int) -> None:
        try:
            self._remember(await self._shelf.manifest(sequence))
        except (BackupMissing, BackupUnreadable) as error:
            log.warning("backup.newest_unreadable", sequence=sequence, error=str(error))

    def _remember(self, manifest: Manifest) -> None:
        self._good = _Good(
            manifest.device_jid, manifest.rows, manifest.sequence, manifest.sha256, manifest.epoch
        )

    async def _prune_quietly(self) -> None:
        try:
            await self._shelf.prune()
        except VaultUnavailable as error:
            log.warning("backup.not_pruned", error=str(error))

    def _success_at(self, at: float) -> None:
        self._last_success_at = at
        self._metrics.last_success.set(at)

    def _tell(self, report: Report) -> None:
        before, self._last = self._last, report
        fields = {"cause": report.cause, "took_s": round(report.took_s, 3)}
        if report.outcome.success:
            log.info(
                "backup.kept" if report.outcome is Outcome.KEPT else "backup.unchanged",
                sequence=report.sequence,
                size_bytes=report.size_bytes,
                stored_bytes=report.stored_bytes,
                **fields,
            )
        elif before is None or (before.outcome, before.sentence) != (report.outcome, report.sentence):
            log.warning("backup.failed", outcome=report.outcome, why=report.sentence, **fields)


def _number(jid: str) -> str:
    """The phone number of a device, which stays the same when the phone is linked anew."""
    return jid.partition("@")[0].partition(":")[0].partition(".")[0]

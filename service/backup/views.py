"""Backups as programs read them: what the API answers, and what the commands print with --json.

Times are RFC 3339 in UTC with milliseconds.
"""

from pydantic import BaseModel, Field

from service.backup.model import Kept, RestoreKind
from service.backup.progress import Progress
from service.backup.report import (
    BackupStatus,
    Outcome,
    Pruned,
    Report,
    Restored,
    Rotated,
    Verified,
)
from service.clock import rfc3339, rfc3339_or_none


class KeptOut(BaseModel):
    """One backup."""

    sequence: int
    taken_at: str
    epoch: int = Field(description="grows by one with each process that takes the account over")
    clean: bool = Field(description="made after the client had stopped")
    key_id: str = Field(description="of the key that it is sealed with")
    size_bytes: int = Field(description="of the session")
    stored_bytes: int = Field(description="what this backup added to what was there before")
    verified_at: str | None = Field(description="when it was last fetched and checked")

    @classmethod
    def of(cls, kept: Kept) -> "KeptOut":
        """The view of a listed backup."""
        return cls(
            sequence=kept.sequence,
            taken_at=rfc3339(kept.taken_at),
            epoch=kept.epoch,
            clean=kept.clean,
            key_id=kept.key_id,
            size_bytes=kept.size_bytes,
            stored_bytes=kept.stored_bytes,
            verified_at=rfc3339_or_none(kept.verified_at),
        )


class RestoredOut(BaseModel):
    """A session that came back."""

    sequence: int
    taken_at: str = Field(description="how old it is")
    kind: RestoreKind
    sessions_dropped: int = Field(description="with how many peers keys are agreed upon anew")
    size_bytes: int
    took_s: float

    @classmethod
    def of(cls, restored: Restored) -> "RestoredOut":
        """The view of a restore."""
        return cls(
            sequence=restored.sequence,
            taken_at=rfc3339(restored.taken_at),
            kind=restored.kind,
            sessions_dropped=restored.sessions_dropped,
            size_bytes=restored.size_bytes,
            took_s=round(restored.took_s, 3),
        )


class ProgressOut(BaseModel):
    """How far something is."""

    began_at: str
    step: str | None = Field(description="what is done just now, in words")
    done_bytes: int = Field(description="of this step")
    total_bytes: int = Field(description="of this step; 0 where nobody can say")
    words: str = Field(description="the step and how far it is, for people")

    @classmethod
    def of(cls, progress: Progress) -> "ProgressOut":
        """The view of it."""
        return cls(
            began_at=rfc3339(progress.began_at),
            step=progress.step,
            done_bytes=progress.done_bytes,
            total_bytes=progress.total_bytes,
            words=progress.words,
        )


class BackupStatusOut(BaseModel):
    """The backups at a glance."""

    enabled: bool
    place: str = Field(description="where they are kept, in words")
    local_key: bool = Field(description="their key is in DATA_DIR alone")
    writing: bool = Field(description="this process owns the account and makes its backups")
    unprotected: bool = Field(description="connected although the place of the backups did not answer")
    busy: str | None = Field(description="what is being done now")
    progress: ProgressOut | None = Field(description="how far that is; null when nothing is being done")
    kept: int | None = Field(description="how many there are; null while that is not known")
    last_backup_at: str | None
    last_sequence: int | None
    last_outcome: Outcome | None
    trouble: str | None = Field(description="why the last one failed; null when it did not")
    last_verified_at: str | None
    verify_trouble: str | None = Field(description="why the last check of one failed; null when it did not")
    restored_at: str | None = Field(description="when the session in use was brought back")
    restored: RestoredOut | None
    undecryptable: int = Field(description="messages that could not be read since then")

    @classmethod
    def of(cls, status: BackupStatus) -> "BackupStatusOut":
        """The view of what is known from memory."""
        return cls(
            enabled=status.enabled,
            place=status.place,
            local_key=status.local_key,
            writing=status.epoch is not None,
            unprotected=status.unprotected,
            busy=None if status.progress is None else status.progress.what,
            progress=None if status.progress is None else ProgressOut.of(status.progress),
            kept=status.kept,
            last_backup_at=rfc3339_or_none(status.last_success_at),
            last_sequence=status.last_sequence,
            last_outcome=status.last_outcome,
            trouble=status.trouble,
            last_verified_at=rfc3339_or_none(status.last_verified_at),
            verify_trouble=status.verify_trouble,
            restored_at=rfc3339_or_none(status.restored_at),
            restored=None if status.restore is None else RestoredOut.of(status.restore),
            undecryptable=status.undecryptable,
        )


class BackupsOut(BaseModel):
    """All of them, the latest first."""

    status: BackupStatusOut
    backups: list[KeptOut]


class ReportOut(BaseModel):
    """What became of a backup that was asked for."""

    outcome: Outcome
    sentence: str
    sequence: int | None = Field(description="the backup that now holds the session")
    size_bytes: int
    stored_bytes: int
    took_s: float

    @classmethod
    def of(cls, report: Report) -> "ReportOut":
        """The view of a report."""
        return cls(
            outcome=report.outcome,
            sentence=report.sentence,
            sequence=report.sequence,
            size_bytes=report.size_bytes,
            stored_bytes=report.stored_bytes,
            took_s=round(report.took_s, 3),
        )


class VerifiedOut(BaseModel):
    """A backup that was fetched, unsealed and checked as a restore would."""

    sequence: int
    taken_at: str
    verified_at: str
    size_bytes: int
    took_s: float

    @classmethod
    def of(cls, verified: Verified) -> "VerifiedOut":
        """The view of a check."""
        return cls(
            sequence=verified.sequence,
            taken_at=rfc3339(verified.taken_at),
            verified_at=rfc3339(verified.at),
            size_bytes=verified.size_bytes,
            took_s=round(verified.took_s, 3),
        )


class PrunedOut(BaseModel):
    """Backups that were forgotten."""

    forgotten: list[int] = Field(description="their sequences")
    freed_bytes: int

    @classmethod
    def of(cls, pruned: Pruned) -> "PrunedOut":
        """The view of what was forgotten."""
        return cls(forgotten=list(pruned.forgotten), freed_bytes=pruned.freed_bytes)


class RotatedOut(BaseModel):
    """The newest backup is sealed with the first key."""

    sequence: int
    key_id: str
    changed: bool
    others: dict[str, int] = Field(description="how many older ones still need which key")

    @classmethod
    def of(cls, rotated: Rotated) -> "RotatedOut":
        """The view of a change of keys."""
        return cls(
            sequence=rotated.sequence,
            key_id=rotated.key_id,
            changed=rotated.changed,
            others=dict(rotated.others),
        )

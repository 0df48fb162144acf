"""Builds the backups' parts from the settings, for the service and for commands beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry

from service.backup.backups import Backups
from service.backup.custody import Custody
from service.backup.desk import Desk
from service.backup.keys import Keys
from service.backup.local import Local, SessionOnDisk
from service.backup.metrics import BackupMetrics
from service.backup.report import BackupStatus
from service.backup.scheduler import Scheduler
from service.backup.scratch import Scratch
from service.backup.shelf import Shelf
from service.backup.vault import Vault
from service.backup.vault_directory import DirectoryVault
from service.backup.vault_postgres import PostgresVault
from service.clock import Clock
from service.config import Settings

OFF: Final = BackupStatus(enabled=False, place="nowhere", local_key=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupParts:
    """Everything about backups, wired; nothing is open yet."""

    vault: Vault
    shelf: Shelf
    backups: Backups
    custody: Custody
    scheduler: Scheduler
    desk: Desk
    notes: Sequence[str]
    """Remarks for the operator; shown to anybody."""


def build(
    settings: Settings,
    *,
    session: SessionOnDisk,
    registry: CollectorRegistry,
    clock: Clock,
    tracer: Tracer,
) -> BackupParts | None:
    """The parts of a service that makes backups; None when it is told not to.

    Raises SettingsError, DataDirUnusable, BackupUnreadable: a key that cannot be used.
    """
    metrics = BackupMetrics(registry, settings.account)
    if not settings.backs_up:
        return None
    vault, keys = vault_of(settings), keys_of(settings)
    scratch = Scratch(settings.data_dir / "backup-work")
    shelf = Shelf(
        vault=vault, keys=keys, account=settings.account, scratch=scratch, clock=clock, metrics=metrics
    )
    local = Local(session)
    backups = Backups(
        shelf=shelf,
        local=local,
        session=session,
        place=place_of(settings),
        clock=clock,
        metrics=metrics,
        tracer=tracer,
    )
    custody = Custody(
        shelf=shelf,
        backups=backups,
        local=local,
        session=session,
        fenced=settings.database_url is not None,
        clock=clock,
        metrics=metrics,
        tracer=tracer,
    )
    scheduler = Scheduler(
        backups=backups,
        custody=custody,
        local=local,
        interval_s=settings.backup_interval * 60.0,
        clock=clock,
    )
    return BackupParts(
        vault=vault,
        shelf=shelf,
        backups=backups,
        custody=custody,
        scheduler=scheduler,
        desk=Desk(backups=backups, scheduler=scheduler),
        notes=_notes(settings, keys),
    )


def shelf_beside(settings: Settings, *, scratch: Path, clock: Clock) -> Shelf:
    """The backups for a command beside the service: its vault is not open yet, its work is done in `scratch`.

    Raises SettingsError, DataDirUnusable, BackupUnreadable.
    """
    return Shelf(
        vault=vault_of(settings),
        keys=keys_of(settings),
        account=settings.account,
        scratch=Scratch(scratch),
        clock=clock,
        metrics=BackupMetrics(CollectorRegistry(), settings.account),
    )


def vault_of(settings: Settings) -> Vault:
    """Where the backups are: BACKUP_DIR, else the database, else a folder in DATA_DIR."""
    if settings.backup_dir is not None:
        return DirectoryVault(settings.backup_dir, account=settings.account)
    if settings.database_url is not None:
        return PostgresVault(settings.database_url.get_secret_value(), account=settings.account)
    return DirectoryVault(settings.data_dir / "backups", account=settings.account)


def keys_of(settings: Settings) -> Keys:
    """What they are sealed with."""
    return Keys.load(settings.backup_keys or None, key_file=settings.data_dir / "backup.key")


def place_of(settings: Settings) -> str:
    """Where they are, in words."""
    if settings.backup_dir is not None:
        return "BACKUP_DIR"
    return "DATA_DIR" if settings.database_url is None else "the database"


def _notes(settings: Settings, keys: Keys) -> Sequence[str]:
    if place_of(settings) == "DATA_DIR":
        return (
            "The session's backups are in DATA_DIR and are lost with it; BACKUP_DIR or DATABASE_URL keeps "
            "them elsewhere.",
        )
    if keys.local:
        return (
            "The key of the session's backups is in DATA_DIR alone (backup.key): when that is lost, no "
            "backup can be read. Set BACKUP_KEYS.",
        )
    return ()

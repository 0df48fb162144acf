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
from service.backup.home import FileHome, Home
from service.backup.home_postgres import PostgresHome
from service.backup.keys import Keys
from service.backup.metrics import BackupMetrics
from service.backup.report import BackupStatus
from service.backup.scheduler import Scheduler
from service.backup.scratch import Scratch
from service.backup.shelf import Shelf
from service.backup.vault import Vault
from service.backup.vault_directory import DirectoryVault
from service.backup.vault_postgres import PostgresVault
from service.clock import Clock
from service.config import SessionStore, Settings
from service.engine.session import SessionFile
from service.engine.session_postgres import PostgresSession

WORK: Final = "backup-work"
OFF: Final = BackupStatus(enabled=False, place="nowhere", local_key=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupParts:
    """Everything about backups, wired; nothing is open yet."""

    vault: Vault
    home: Home
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
    session: SessionFile | PostgresSession,
    registry: CollectorRegistry,
    clock: Clock,
    tracer: Tracer,
) -> BackupParts | None:
    """The parts of a service that makes backups; None when it is told not to.

    Raises SettingsError, DataDirUnusable, BackupUnreadable: a key that cannot be used.
    """
    metrics = BackupMetrics(registry, settings.account)
    if not settings.backup_enabled:
        return None
    vault, keys = vault_of(settings), keys_of(settings)
    scratch = Scratch(settings.data_dir / WORK)
    shelf = Shelf(
        vault=vault, keys=keys, account=settings.account, scratch=scratch, clock=clock, metrics=metrics
    )
    home = home_of(settings, session)
    backups = Backups(
        shelf=shelf,
        home=home,
        place=place_of(settings),
        clock=clock,
        metrics=metrics,
        tracer=tracer,
    )
    custody = Custody(
        shelf=shelf,
        backups=backups,
        home=home,
        fenced=settings.database_url is not None,
        clock=clock,
        metrics=metrics,
        tracer=tracer,
    )
    scheduler = Scheduler(
        backups=backups,
        custody=custody,
        home=home,
        interval_s=settings.backup_interval * 60.0,
        clock=clock,
    )
    return BackupParts(
        vault=vault,
        home=home,
        shelf=shelf,
        backups=backups,
        custody=custody,
        scheduler=scheduler,
        desk=Desk(backups=backups, scheduler=scheduler),
        notes=_notes(settings, keys),
    )


def session_of(settings: Settings, path: Path) -> SessionFile | PostgresSession:
    """The session where SESSION_STORE says; `path` is its file's, where it is in one."""
    if settings.session_store is SessionStore.FILE or settings.database_url is None:
        return SessionFile(path)
    return PostgresSession(settings.database_url.get_secret_value(), account=settings.account, path=path)


def home_of(settings: Settings, session: SessionFile | PostgresSession) -> Home:
    """Where the session lives."""
    if isinstance(session, PostgresSession):
        return PostgresHome(session, mirror=settings.data_dir / WORK / "mirror.db")
    return FileHome(session)


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
    notes = []
    if settings.session_store is SessionStore.POSTGRES and settings.backup_dir is None:
        notes.append(
            "The session and its backups are in one database and are lost with it; BACKUP_DIR keeps the "
            "backups elsewhere."
        )
    if keys.local:
        notes.append(
            "The key of the session's backups is in DATA_DIR alone (backup.key): when that is lost, no "
            "backup can be read. Set BACKUP_KEYS."
        )
    return tuple(notes)

"""Backups as the service wires them, of a session made for the test, in a folder."""

from pathlib import Path
from typing import Any

from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry

from service.backup.assembly import build
from service.backup.desk import Desk
from service.clock import Clock
from service.config import Settings
from service.engine.session import SessionFile
from tests.unit.backup.sessions import Session

KEY = "0f" * 32


class BackedUp:
    """Nobody owns the account before `own`; the session is `session`."""

    def __init__(
        self, folder: Path, *, registry: CollectorRegistry, clock: Clock, tracer: Tracer, **settings: Any
    ) -> None:
        self.environment = {
            "DATA_DIR": str(folder / "data"),
            "BACKUP_DIR": str(folder / "kept"),
            "BACKUP_KEYS": KEY,
        }
        (folder / "data").mkdir(exist_ok=True)
        self.file = SessionFile(folder / "data" / "session.db")
        given: dict[str, Any] = {
            "data_dir": folder / "data",
            "backup_dir": folder / "kept",
            "backup_keys": (KEY,),
        } | settings
        parts = build(Settings(**given), session=self.file, registry=registry, clock=clock, tracer=tracer)
        assert parts is not None
        self.parts = parts
        self.kept_in = folder / "kept"
        self.session = Session(self.file.path)

    @property
    def desk(self) -> Desk:
        """What people ask."""
        return self.parts.desk

    async def own(self) -> None:
        """A phone was linked, and this process is the one that makes backups."""
        self.session.make()
        await self.parts.custody.admit(1, lambda _: None)

    def damage(self) -> None:
        """A bit of every chunk that is kept changes."""
        for chunk in self.kept_in.glob("*/chunks/*"):
            data = bytearray(chunk.read_bytes())
            data[-1] ^= 1
            chunk.chmod(0o600)
            chunk.write_bytes(data)

    async def close(self) -> None:
        """Nobody uses them any more."""
        await self.parts.vault.close()

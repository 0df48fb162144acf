"""One process that may own an account's session: its disk, its lease's number, its backups."""

import asyncio
from pathlib import Path
from typing import Final

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from service.backup.backups import Backups
from service.backup.custody import Custody, Hurdle
from service.backup.home import FileHome, Home
from service.backup.keys import Keys
from service.backup.local import Local
from service.backup.metrics import BackupMetrics
from service.backup.scheduler import Scheduler
from service.backup.scratch import Scratch
from service.backup.shelf import Shelf
from service.backup.vault import Vault
from service.engine.session import SessionFile
from tests.clock import FakeClock
from tests.unit.backup.sessions import Session

KEY: Final = "aa" * 32
ANOTHER_KEY: Final = "bb" * 32
PATIENCE_S: Final = 60.0


class House:
    """From `takes_over` to `leaves`, `dies` or `is_lost`. The clock is everybody's."""

    def __init__(
        self,
        folder: Path,
        vault: Vault,
        *,
        account: str,
        clock: FakeClock,
        keys: tuple[str, ...] = (KEY,),
        fenced: bool = True,
        home: Home | None = None,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.clock = clock
        self.file = SessionFile(folder / "session.db")
        self.registry = CollectorRegistry()
        self.account = account
        self.spans = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        tracer = provider.get_tracer("test")
        metrics = BackupMetrics(self.registry, account)
        secrets = tuple(SecretStr(key) for key in keys)
        self.shelf = Shelf(
            vault=vault,
            keys=Keys.load(secrets, key_file=folder / "backup.key"),
            account=account,
            scratch=Scratch(folder / "work"),
            clock=clock,
            metrics=metrics,
        )
        self.local = Local(self.file)
        self.home = home or FileHome(self.file)
        self.backups = Backups(
            shelf=self.shelf,
            home=self.home,
            place="a test",
            clock=clock,
            metrics=metrics,
            tracer=tracer,
        )
        self.custody = Custody(
            shelf=self.shelf,
            backups=self.backups,
            home=self.home,
            fenced=fenced,
            clock=clock,
            metrics=metrics,
            tracer=tracer,
        )
        self.scheduler = Scheduler(
            backups=self.backups, custody=self.custody, home=self.home, interval_s=1800, clock=clock
        )
        self.hurdles: list[Hurdle] = []
        self.taking_over: asyncio.Task[None] | None = None

    @property
    def path(self) -> Path:
        """Of the session."""
        return self.file.path

    def pairs(self, *, seed: int = 1) -> Session:
        """A phone is linked: a session is there."""
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        session = Session(self.path, seed=seed).make()
        self.local.adopt()
        return session

    async def begins_to_take_over(self, fence: int) -> None:
        """It holds the lease with that number."""
        await self.custody.clear_the_way()
        await asyncio.to_thread(self.file.prepare)
        self.taking_over = asyncio.create_task(self.custody.admit(fence, self.hurdles.append))

    async def takes_over(self, fence: int, *, within_s: float = 0.0) -> None:
        """It may connect, after waiting no longer than that."""
        await self.begins_to_take_over(fence)
        assert await self.admitted(within_s), self.hurdles

    async def admitted(self, within_s: float = 0.0) -> bool:
        """Whether it may connect once that much time has passed."""
        assert self.taking_over is not None
        until = self.clock.monotonic() + within_s
        async with asyncio.timeout(PATIENCE_S):
            while not self.taking_over.done():
                if self.clock.sleeps:
                    if self.clock.monotonic() >= until:
                        return False
                    self.clock.advance(self.clock.sleeps[0])
                await asyncio.sleep(0.001)
        self.taking_over.result()
        return True

    async def gives_up(self) -> None:
        """It does not wait any longer."""
        assert self.taking_over is not None
        self.taking_over.cancel()
        await asyncio.gather(self.taking_over, return_exceptions=True)

    async def leaves(self) -> None:
        """An orderly stop."""
        await self.custody.leave()

    def counted(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(f"whatsapp_backup_{name}", {"account": self.account, **labels})
        assert value is not None, name
        return value

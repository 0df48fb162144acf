"""A simulator with people on it, each a real engine with its own session database."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from service.clock import SystemClock
from service.engine.content import AnyContent, Text
from service.engine.metrics import EngineMetrics
from service.engine.process import EngineProcess
from service.engine.protocol import AnyEvent, Connected, MessageReceived, QrCode, Refused, Sent
from service.engine.session import SessionFile
from service.simulator.engine import ENGINE_ENTRY
from service.simulator.server import Simulator

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0

E = TypeVar("E", bound=AnyEvent)


class Told:
    """Events as they came."""

    def __init__(self) -> None:
        self.events: list[AnyEvent] = []
        self.more = asyncio.Event()

    def hear(self, event: AnyEvent) -> None:
        self.events.append(event)
        self.more.set()


@dataclass
class Engine:
    """A person's engine with what it told and counted."""

    process: EngineProcess
    phone: str
    session: SessionFile
    registry: CollectorRegistry
    proxy: str
    heard: Told
    tokens: int = 0

    @property
    def jid(self) -> str:
        return f"{self.phone}@s.whatsapp.net"

    @property
    def events(self) -> list[AnyEvent]:
        return self.heard.events

    async def told(self, kind: type[E], fits: Callable[[E], bool] = lambda _: True) -> E:
        """The first such event, waited for if it has not come."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    for event in self.events:
                        if isinstance(event, kind) and fits(event):
                            return event
                    self.heard.more.clear()
                    await self.heard.more.wait()
        except TimeoutError:
            raise AssertionError(f"no such {kind.__name__} among {self.events}") from None

    @property
    def texts(self) -> set[str]:
        """What this engine told that it had read."""
        return {event.text for event in self.events if isinstance(event, MessageReceived)}

    async def read(self, texts: set[str]) -> None:
        """Return when these have come."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while missing := texts - self.texts:
                    self.heard.more.clear()
                    await self.heard.more.wait()
        except TimeoutError:
            raise AssertionError(f"{len(missing)} of {len(texts)} did not come: {sorted(missing)}") from None

    async def has_counted(self, at_least: float, name: str, **labels: str) -> None:
        """Return when a heartbeat has brought the counter as far as that."""
        async with asyncio.timeout(PATIENCE_S):
            while (self.counted(name, **labels) or 0) < at_least:
                self.heard.more.clear()
                await self.heard.more.wait()

    async def forgotten(self) -> None:
        """Return when whatsmeow has deleted the session, which it does while it tells of the logout."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.session.device_jid() is not None:
                await asyncio.sleep(0.01)

    async def connect(self) -> None:
        await self.process.connect(database=self.session.path, device_name="Test", proxy=self.proxy)

    async def online(self) -> Connected:
        await self.connect()
        return await self.told(Connected)

    async def send(
        self,
        chat: str,
        content: AnyContent | str,
        *,
        file: Path | None = None,
        token: int | None = None,
        behind: int | None = None,
        secret: bytes | None = None,
    ) -> Sent | Refused:
        self.tokens += 1
        return await self.process.send(
            token=token or self.tokens,
            chat=chat,
            content=Text(text=content) if isinstance(content, str) else content,
            file=file,
            secret=secret or os.urandom(32),
            behind=behind,
            traceparent=None,
        )

    async def sent(self, chat: str, content: AnyContent | str, *, file: Path | None = None) -> Sent:
        reply = await self.send(chat, content, file=file)
        assert isinstance(reply, Sent), reply
        return reply

    def counted(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"whatsapp_engine_{name}", {"account": "test", **labels})


class World:
    """Engines on one simulator; all are ended with it."""

    def __init__(self, simulator: Simulator, folder: Path) -> None:
        self.simulator = simulator
        self.folder = folder
        self._engines: list[Engine] = []

    def engine(self, phone: str, **options: Any) -> Engine:
        """An engine on this person's session, not started yet."""
        told = Told()
        registry = CollectorRegistry()
        process = EngineProcess(
            entry=ENGINE_ENTRY,
            environment={**os.environ, "PYTHONPATH": str(ROOT), **self.simulator.environment()},
            on_event=told.hear,
            metrics=EngineMetrics(registry, "test"),
            clock=SystemClock(),
            **options,
        )
        session = SessionFile(self.folder / f"{phone}.db")
        session.prepare()
        engine = Engine(process, phone, session, registry, self.simulator.proxy, told)
        self._engines.append(engine)
        return engine

    async def started(self, phone: str, **options: Any) -> Engine:
        engine = self.engine(phone, **options)
        await engine.process.start()
        return engine

    async def online(self, phone: str, **options: Any) -> Engine:
        """This person's engine, connected; paired first where it is not."""
        engine = await self.started(phone, **options)
        await engine.connect()
        if await engine.session.device_jid() is None:
            code = await engine.told(QrCode)
            await self.simulator.scan(code.code, phone)
        await engine.told(Connected)
        return engine

    async def leave(self, engine: Engine) -> None:
        await engine.process.stop()
        self._engines.remove(engine)

    async def close(self) -> None:
        for engine in self._engines:
            if engine.process.pid is not None:
                await engine.process.kill()

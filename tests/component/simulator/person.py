"""A person with a real WhatsApp client, each login in an engine process of its own."""

import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from secrets import token_bytes
from typing import TypeVar

from prometheus_client import CollectorRegistry

from service.clock import SystemClock
from service.engine.content import Text
from service.engine.metrics import EngineMetrics
from service.engine.process import EngineProcess
from service.engine.protocol import AnyEvent, Connected, MessageReceived, QrCode, Receipt, Refused, Sent
from service.engine.session import SessionFile
from service.simulator.engine import ENGINE_ENTRY
from service.simulator.server import Simulator

E = TypeVar("E")


class Person:
    """What one client did and saw. `inbox` is what it decrypted, in order."""

    def __init__(self, simulator: Simulator, phone: str, folder: Path) -> None:
        self.simulator = simulator
        self.phone = phone
        self.session = SessionFile(folder / f"{phone}.db")
        self.events: list[AnyEvent] = []
        self._token = 0

    @property
    def inbox(self) -> list[str]:
        return [event.text for event in self.seen(MessageReceived)]

    @property
    def confirmed(self) -> list[str]:
        """Ids of sent messages for which a receipt came, in order."""
        return [message for event in self.seen(Receipt) for message in event.message_ids]

    def seen(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, condition: Callable[[], object], *, timeout_s: float = 30.0) -> None:
        try:
            await self.simulator.wait_for(lambda: bool(condition()), timeout_s=timeout_s)
        except TimeoutError as error:
            error.add_note(f"events: {[type(event).__name__ for event in self.events]}")
            raise

    async def has(self, kind: type[E], count: int = 1) -> E:
        """The event of that kind, when it has come (that many times)."""
        await self.until(lambda: len(self.seen(kind)) >= count)
        return self.seen(kind)[count - 1]

    @asynccontextmanager
    async def process(self) -> AsyncIterator[EngineProcess]:
        """A new engine on the same session, connecting; what was seen before is forgotten."""
        self.session.prepare()
        self.events = []
        engine = EngineProcess(
            entry=ENGINE_ENTRY,
            environment={**os.environ, **self.simulator.environment()},
            on_event=self.events.append,
            metrics=EngineMetrics(CollectorRegistry(), "test"),
            clock=SystemClock(),
        )
        await engine.start()
        try:
            await engine.connect(database=self.session.path, device_name="Test", proxy=self.simulator.proxy)
            self.engine = engine
            yield engine
        finally:
            await engine.stop()

    @asynccontextmanager
    async def online(self) -> AsyncIterator[EngineProcess]:
        """As `process`, and connected; paired by QR code first if need be."""
        async with self.process() as engine:
            await self.until(lambda: self.seen(QrCode) or self.seen(Connected))
            if not self.seen(Connected):
                await self.simulator.scan(self.seen(QrCode)[0].code, self.phone)
                await self.has(Connected)
            yield engine

    def lose_ratchets(self) -> None:
        """Forget every session and sender key, as a restored session does; only while offline."""
        with closing(sqlite3.connect(self.session.path)) as database:
            database.execute("DELETE FROM whatsmeow_sessions")
            database.execute("DELETE FROM whatsmeow_sender_keys")
            database.commit()

    async def try_to_send(self, to: "Person | str", text: str) -> Sent | Refused:
        self._token += 1
        return await self.engine.send(
            token=self._token,
            chat=_address(to),
            content=Text(text=text),
            file=None,
            secret=token_bytes(32),
            behind=None,
            traceparent=None,
        )

    async def send(self, to: "Person | str", text: str) -> str:
        """The id of a message that the server acknowledged."""
        answer = await self.try_to_send(to, text)
        assert isinstance(answer, Sent), answer
        return answer.message_id


def _address(to: "Person | str") -> str:
    """A JID is taken as it is, a number or a person as their own chat."""
    if isinstance(to, str) and "@" in to:
        return to
    return f"{to if isinstance(to, str) else to.phone}@s.whatsapp.net"

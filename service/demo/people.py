"""The people of the demo: each has a phone number and a real WhatsApp client of their own."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_bytes
from typing import Final

from prometheus_client import CollectorRegistry

from service.clock import SystemClock
from service.engine.content import Text
from service.engine.metrics import EngineMetrics
from service.engine.process import EngineProcess
from service.engine.protocol import (
    AnyEvent,
    Connected,
    MessageReceived,
    QrCode,
    Receipt,
    ReceiptKind,
    Refused,
    Undecryptable,
    Unread,
)
from service.engine.session import SessionFile
from service.errors import SimulatorError
from service.simulator.engine import ENGINE_ENTRY
from service.simulator.server import Simulator

BEACON: Final = "15550000000"
"""The number of the account that the service runs."""

CONTACTS: Final = {"Ann": "15550000001", "Ben": "15550000002", "Cleo": "15550000003", "Dan": "15550000004"}
PAIRING_S: Final = 60.0


@dataclass
class Contact:
    """A person with a paired client in a process of its own. `inbox` is what it decrypted, in order;
    `asked_again` the ids of messages that others' clients asked it for once more, unable to read them;
    `dropped` those of messages that its own client dropped, because their key had been used before."""

    name: str
    phone: str
    engine: EngineProcess
    inbox: list[str] = field(default_factory=list)
    asked_again: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)

    async def send(self, phone: str, text: str) -> str:
        """Write to somebody; the message's id. Raises SimulatorError when it was not accepted."""
        answer = await self.engine.send(
            token=0,
            chat=f"{phone}@s.whatsapp.net",
            content=Text(text=text),
            file=None,
            secret=token_bytes(32),
            behind=None,
            traceparent=None,
        )
        if isinstance(answer, Refused):
            raise SimulatorError(f"{self.name} could not write: {answer.text}")
        return answer.message_id


@asynccontextmanager
async def contact(
    name: str, phone: str, *, simulator: Simulator, folder: Path, heard: Callable[[], None]
) -> AsyncIterator[Contact]:
    """A contact that is paired and online; `heard` is called after each message that it decrypted."""
    connected = asyncio.Event()
    scans: set[asyncio.Task[None]] = set()

    def on_event(event: AnyEvent) -> None:
        match event:
            case QrCode() if not scans:
                scans.add(asyncio.create_task(simulator.scan(event.code, phone)))
            case Connected():
                connected.set()
            case MessageReceived() if not event.from_me:
                person.inbox.append(event.text)
                heard()
            case Receipt(receipt=ReceiptKind.RETRY):
                person.asked_again.update(event.message_ids)
            case Undecryptable(reason=Unread.OLD_COUNTER):
                person.dropped.add(event.id)

    session = SessionFile(folder / f"{name}.db")
    session.prepare()
    engine = EngineProcess(
        entry=ENGINE_ENTRY,
        environment={**os.environ, **simulator.environment()},
        on_event=on_event,
        metrics=EngineMetrics(CollectorRegistry(), name.lower()),
        clock=SystemClock(),
    )
    person = Contact(name, phone, engine)
    await engine.start()
    try:
        await engine.connect(database=session.path, device_name=name, proxy=simulator.proxy)
        async with asyncio.timeout(PAIRING_S):
            await connected.wait()
            await asyncio.gather(*scans)
        yield person
    finally:
        await engine.stop()

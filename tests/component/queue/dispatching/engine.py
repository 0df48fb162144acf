"""An engine whose answers a test gives: outcomes that no real one can be made to have on time."""

import asyncio
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from service.engine.content import AnyContent, Text
from service.engine.protocol import Refusal, Refused, Sent
from tests.clock import FakeClock
from tests.component.queue.support import until


@dataclass(eq=False)
class Sending:
    """One send under way."""

    token: int
    chat: str
    content: AnyContent
    file: Path | None
    secret: bytes
    behind: int | None
    traceparent: str | None
    answer: "asyncio.Future[Sent | Refused]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def text(self) -> str:
        """What a text says; of another content its kind."""
        kind: str = self.content.__struct_config__.tag  # type: ignore[assignment]
        return self.content.text if isinstance(self.content, Text) else kind


class FakeEngine:
    """Takes sends; answers at once when `acknowledges`, else when told. Remembers secrets as whatsmeow
    does: `wrote` before a send is answered or lost."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._ids = count(1)
        self.sends: list[Sending] = []
        self.acknowledges = False
        self.secrets: dict[bytes, str] = {}
        self.lookups = 0

    async def send(
        self,
        *,
        token: int,
        chat: str,
        content: AnyContent,
        file: Path | None,
        secret: bytes,
        behind: int | None,
        traceparent: str | None,
    ) -> Sent | Refused:
        sending = Sending(token, chat, content, file, secret, behind, traceparent)
        self.sends.append(sending)
        if self.acknowledges:
            self.acknowledge(sending)
        return await sending.answer

    async def find_message_id(self, secret: bytes) -> str | None:
        self.lookups += 1
        return self.secrets.get(secret)

    async def nth(self, number: int) -> Sending:
        """The send of that number, from 1, once it has come."""
        await until(lambda: self.has(number), f"send {number}; there are {self.texts}")
        return self.sends[number - 1]

    def has(self, number: int) -> bool:
        """Whether the send of that number has come."""
        return len(self.sends) >= number

    @property
    def texts(self) -> list[str]:
        return [sending.text for sending in self.sends]

    def acknowledge(self, sending: Sending) -> str:
        """The server has it; its WhatsApp id."""
        message_id = f"3EB0{next(self._ids)}"
        self.secrets[sending.secret] = message_id
        sending.answer.set_result(Sent(id=1, message_id=message_id, timestamp=self._clock.now(), took_s=0.0))
        return message_id

    def fail(self, sending: Sending, text: str) -> None:
        """neonize raised."""
        self.refuse(sending, Refusal.FAILED, text)

    def refuse(self, sending: Sending, refusal: Refusal, text: str = "") -> None:
        """It was not done."""
        sending.answer.set_result(Refused(id=1, refusal=refusal, text=text))

    def lose(self, sending: Sending, error: Exception, *, wrote: str | None = None) -> None:
        """The engine ended; it had written the secret with that id, or not."""
        if wrote is not None:
            self.secrets[sending.secret] = wrote
        sending.answer.set_exception(error)

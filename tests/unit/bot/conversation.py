"""A bot on a real queue, and people who write to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from service.bot.bot import Bot
from service.bot.metrics import BotMetrics
from service.bot.router import Router
from service.engine.protocol import MessageReceived
from service.queue.model import Enqueued, NewMessage
from service.queue.store import QueueStore
from service.telemetry.pseudonym import Pseudonyms
from tests.clock import FakeClock
from tests.people import ANN, BEN
from tests.unit.queue.messages import text_of

ADMIN = BEN
GROUP = "120363000000000001@g.us"


def jid(phone: str) -> str:
    """The chat with that person."""
    return f"{phone}@s.whatsapp.net"


@dataclass
class Conversation:
    """`hears` hands the bot messages and lets it answer them all; `answers` is what the queue kept."""

    store: QueueStore
    router: Router = field(default_factory=lambda: Router(prefix="!"))
    clock: FakeClock = field(default_factory=FakeClock)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    timeout_s: float = 30.0
    waiting_limit: int = 1000
    kept: list[Enqueued] = field(default_factory=list)
    spans: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    _metrics: BotMetrics | None = None
    _ids: Iterator[int] = field(default_factory=lambda: count(1))

    async def hears(self, *messages: MessageReceived | str) -> list[str]:
        """The texts of the new answers, in order, as the queue keeps them."""
        before = len(self.kept)
        bot = self._bot()
        for message in messages:
            bot.receive(self.said(message) if isinstance(message, str) else message)
        bot.stop()
        await bot.run()
        return [text_of(one.message) for one in self.kept[before:] if one.created]

    def said(
        self,
        text: str,
        *,
        by: str = ANN,
        chat: str | None = None,
        from_me: bool = False,
        sender: str | None = None,
        sender_pn: str | None = None,
        message_id: str | None = None,
    ) -> MessageReceived:
        """What the engine hands over when somebody writes that."""
        sender = sender or jid(by)
        return MessageReceived(
            id=message_id or f"3EB0{next(self._ids):016X}",
            chat=chat or sender,
            sender=sender,
            sender_pn=sender_pn,
            is_group=chat == GROUP,
            from_me=from_me,
            timestamp=self.clock.now(),
            text=text,
        )

    def counted(self, command: str, result: str) -> float | None:
        """`whatsapp_bot_commands_total` of that command and result."""
        return self.registry.get_sample_value(
            "whatsapp_bot_commands_total", {"account": "default", "command": command, "result": result}
        )

    def traced(self) -> Sequence[ReadableSpan]:
        """The spans that ended."""
        return self.spans.get_finished_spans()

    def _bot(self) -> Bot:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        if self._metrics is None:
            names = [command.name for command in self.router]
            self._metrics = BotMetrics(self.registry, "default", commands=names)
        return Bot(
            router=self.router,
            enqueue=self._enqueue,
            admins=(ADMIN,),
            metrics=self._metrics,
            tracer=provider.get_tracer("test"),
            pseudonyms=Pseudonyms(b"key"),
            clock=self.clock,
            timeout_s=self.timeout_s,
            waiting_limit=self.waiting_limit,
        )

    async def _enqueue(self, messages: Sequence[NewMessage]) -> list[Enqueued]:
        enqueued = await self.store.enqueue(messages, now=self.clock.now())
        self.kept.extend(enqueued)
        return enqueued

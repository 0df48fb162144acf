"""Everything of the queue, put together around an engine whose answers a test gives."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from service.engine.protocol import Receipt, ReceiptKind
from service.queue.dispatcher import Dispatcher
from service.queue.model import Message, NewMessage, State
from service.queue.outbox import Outbox
from service.queue.store import QueueStore
from tests.clock import FakeClock
from tests.component.queue.dispatching.engine import FakeEngine
from tests.component.queue.support import DEADLINE_S, until, value
from tests.people import ANN

UNKNOWN_WAIT_S = 120.0


class Session:
    """The name of the session database, which a test may change."""

    identity = "s1"

    def __call__(self) -> str:
        return self.identity


@dataclass
class Queue:
    """Everything of the queue, running."""

    store: QueueStore
    engine: FakeEngine
    dispatcher: Dispatcher
    outbox: Outbox
    session: Session
    outgoing: Path
    clock: FakeClock
    registry: CollectorRegistry
    spans: InMemorySpanExporter

    async def post(self, *messages: NewMessage) -> list[Message]:
        return [answer.message for answer in await self.outbox.enqueue(messages)]

    async def state(self, message: Message, state: State) -> None:
        """Wait until the message is in the state, and who brought it there has told what there is to tell."""
        await until(lambda: self.store.counts()[state] > 0, f"a message that is {state}")
        async with asyncio.timeout(DEADLINE_S):
            while (found := await self.store.get(message.id)) is None or found.state is not state:
                await asyncio.sleep(0)
        await self.settle_down()

    async def counts(self, **expected: int) -> None:
        """Wait until so many messages are in these states, and who brought them there has told of it."""
        await until(
            lambda: all(self.store.counts()[State(name)] == n for name, n in expected.items()),
            f"{expected}; there are {dict(self.store.counts())}",
        )
        await self.settle_down()

    async def pass_time(self, seconds: float, *, step_s: float = 1.0) -> None:
        """Move the clock in steps; everyone who slept runs in between, the store's thread too."""
        while seconds > 0:
            await until(lambda: bool(self.clock.sleeps), "somebody to sleep")
            self.clock.advance(min(step_s, seconds))
            seconds -= step_s
            await self.settle_down()

    async def time_passes_until(self, condition: Callable[[], bool], what: str) -> None:
        """Move the clock, everyone running in between, until the condition holds, and let everyone finish."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not condition():
                    self.clock.advance(0.5)
                    await self.settle_down()
        except TimeoutError:
            raise AssertionError(f"time passed in vain: {what}") from None
        await self.settle_down()

    async def settle_down(self) -> None:
        """Let what is under way reach the store and come back: the store does things in turn, and answers
        a moment after it shows them."""
        for _ in range(5):
            await self.store.resolve_unknown("nothing", now=self.clock.now())
            await asyncio.sleep(0)

    def receipt(
        self,
        whatsapp_ids: Sequence[str],
        kind: ReceiptKind = ReceiptKind.DELIVERED,
        *,
        from_me: bool = False,
        chat: str = ANN,
        resent_by_engine: bool = False,
    ) -> None:
        self.dispatcher.receipt(
            Receipt(
                message_ids=tuple(whatsapp_ids), receipt=kind, chat=chat, sender=ANN, from_me=from_me,
                timestamp=self.clock.now(), resent_by_engine=resent_by_engine,
            )
        )  # fmt: skip

    def value(self, name: str, **labels: str) -> float:
        return value(self.registry, f"whatsapp_queue_{name}", **labels)

    def attempts(self, *, result: str) -> float:
        """Attempts that ended so, for whatever reason."""
        return sum(
            sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == "whatsapp_queue_attempts_total" and sample.labels["result"] == result
        )

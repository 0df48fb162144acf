"""The queue as the rest of the service sees it: hand in, look up, watch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import structlog
from opentelemetry import trace
from opentelemetry.trace import Tracer

from service.clock import Clock
from service.errors import InvalidInput, StoreUnavailable
from service.queue import spans
from service.queue.address import parse_chat
from service.queue.content import parse_content
from service.queue.metrics import EnqueueOutcome, QueueMetrics
from service.queue.model import Enqueued, Message, NewMessage, State
from service.queue.store import QueueStore

log = structlog.get_logger(__name__)

MAX_PRIORITY: Final = 9


class Outbox:
    """Keeps messages and tells what became of them."""

    def __init__(
        self,
        *,
        store: QueueStore,
        wake: Callable[[], None],
        clock: Clock,
        metrics: QueueMetrics,
        tracer: Tracer,
    ) -> None:
        self._store = store
        self._wake = wake
        self._clock = clock
        self._metrics = metrics
        self._tracer = tracer

    async def enqueue(self, messages: Sequence[NewMessage]) -> list[Enqueued]:
        """Keep all of them, on disk before this returns, in the order given; or none.

        A chat may be a phone number. Raises InvalidInput, with the field as `messages[3].text`, and
        StoreUnavailable or StoreFull.
        """
        now = self._clock.now()
        checked = [_checked(message, f"messages[{i}]", now=now) for i, message in enumerate(messages)]
        with trace.use_span(spans.publish(self._tracer, messages=len(checked)), end_on_exit=True) as span:
            traceparent = spans.traceparent(span)
            carried = [replace(m, traceparent=traceparent or m.traceparent) for m in checked]
            try:
                answers = await self._store.enqueue(carried, now=now)
            except StoreUnavailable as error:
                self._metrics.enqueued(EnqueueOutcome.REJECTED, len(carried))
                spans.failed(span, type(error).__name__)
                raise
            if len(answers) == 1:
                span.set_attribute("messaging.message.id", answers[0].message.id)
        created = sum(answer.created for answer in answers)
        self._metrics.enqueued(EnqueueOutcome.CREATED, created)
        self._metrics.enqueued(EnqueueOutcome.DUPLICATE, len(answers) - created)
        log.info("queue.accepted", messages=created, duplicates=len(answers) - created)
        self._wake()
        return answers

    async def get(self, message_id: str) -> Message | None:
        """One message by its id. Raises StoreUnavailable."""
        return await self._store.get(message_id)

    def counts(self) -> Mapping[State, int]:
        """Messages by state, O(1)."""
        return self._store.counts()

    def oldest_queued_at(self) -> float | None:
        """When the oldest message that is still queued was accepted, Unix seconds, O(1)."""
        return self._store.oldest_queued_at()

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` when counts may have changed; the answer ends that."""
        return self._store.subscribe(lambda _: listener())


def _checked(message: NewMessage, where: str, *, now: float) -> NewMessage:
    if not 0 <= message.priority <= MAX_PRIORITY:
        raise InvalidInput(f"{where}.priority", f"{message.priority}: must be 0 to {MAX_PRIORITY}")
    if message.max_attempts < 1:
        raise InvalidInput(f"{where}.max_attempts", f"{message.max_attempts}: must be at least 1")
    earliest = now if message.not_before is None else max(now, message.not_before)
    if message.expires_at is not None and message.expires_at <= earliest:
        raise InvalidInput(f"{where}.expires_at", "must be later than now and than not_before")
    chat = parse_chat(message.chat, field=f"{where}.to")
    parse_content(message.content, field=where)
    return replace(message, chat=chat)

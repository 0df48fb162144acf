"""The queue as the rest of the service sees it: hand in, look up, watch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import structlog
from opentelemetry.trace import SpanContext, Tracer

from service.clock import Clock
from service.errors import InvalidInput, StoreUnavailable
from service.queue import spans
from service.queue.address import parse_chat
from service.queue.content import parse_content
from service.queue.metrics import EnqueueOutcome, QueueMetrics
from service.queue.model import Enqueued, Message, NewMessage, Page, Query, State
from service.queue.store import QueueStore
from service.telemetry.bound import Bound, BoundMetrics
from service.telemetry.traceparent import traceparent_of, unsampled
from service.telemetry.within import within

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
        bound: Bound,
        bound_metrics: BoundMetrics,
    ) -> None:
        self._store = store
        self._wake = wake
        self._clock = clock
        self._metrics = metrics
        self._tracer = tracer
        self._bound = bound
        self._bound_metrics = bound_metrics

    async def enqueue(self, messages: Sequence[NewMessage]) -> list[Enqueued]:
        """Keep all of them, on disk before this returns, in the order given; or none.

        A chat may be a phone number. Raises InvalidInput, with the field as `messages[3].text` and the faults
        of other messages in `others`; StoreUnavailable or StoreFull.
        """
        checked = check_all(messages, now=self._clock.now())
        with within(spans.publish(self._tracer, messages=len(checked))) as span:
            context = span.get_span_context()
            recorded = self._bound.take(len(checked)) if context.trace_flags.sampled else len(checked)
            carried = _carrying(context, checked, recorded)
            try:
                answers = await self._store.enqueue(carried, now=self._clock.now())
            except StoreUnavailable:
                self._metrics.enqueued(EnqueueOutcome.REJECTED, len(carried))
                raise
            if len(answers) == 1:
                span.set_attribute("messaging.message.id", answers[0].message.id)
        self._bound_metrics.left_out.inc(sum(answer.created for answer in answers[recorded:]))
        created = sum(answer.created for answer in answers)
        self._metrics.enqueued(EnqueueOutcome.CREATED, created)
        self._metrics.enqueued(EnqueueOutcome.DUPLICATE, len(answers) - created)
        log.info("queue.accepted", messages=created, duplicates=len(answers) - created)
        self._wake()
        return answers

    async def keep_file(self, data: bytes) -> str:
        """Keep a file's bytes, durably, before a message names them by the SHA-256 that this answers.

        Raises StoreUnavailable, StoreFull.
        """
        return await self._store.keep_file(data, now=self._clock.now())

    async def get(self, message_id: str) -> Message | None:
        """One message by its id. Raises StoreUnavailable."""
        return await self._store.get(message_id)

    async def find(self, query: Query) -> Page:
        """Messages, the latest accepted first. Raises StoreUnavailable."""
        return await self._store.find(query)

    async def cancel(self, message_id: str) -> Message | None:
        """Take a message back that waits or is held; the message afterwards, `cancelled` unless it was too
        late; None when it is not kept. Raises StoreUnavailable."""
        message = await self._store.cancel(message_id, now=self._clock.now())
        self._wake()  # it may have held back its chat
        return self._asked("cancel", message)

    async def hold(self, message_id: str) -> Message | None:
        """Let a waiting message wait for a person; the message afterwards, `held` unless it was too late;
        None when it is not kept. Raises StoreUnavailable."""
        message = await self._store.hold(message_id, now=self._clock.now())
        self._wake()  # it no longer holds back its chat
        return self._asked("hold", message)

    async def release(self, message_id: str) -> Message | None:
        """Let a held message go out; the message afterwards, `queued` unless it was in another state; None
        when it is not kept. Raises StoreUnavailable."""
        message = await self._store.get(message_id)
        if message is not None and message.state is State.HELD:
            message = await self._store.requeue(message_id, now=self._clock.now())
            self._wake()
        return self._asked("release", message)

    async def requeue(self, message_id: str) -> Message | None:
        """Try a dead, expired or held message again; the message afterwards, `queued` unless it was in
        another state; None when it is not kept. Raises StoreUnavailable."""
        message = await self._store.requeue(message_id, now=self._clock.now())
        self._wake()
        return self._asked("retry", message)

    async def requeue_dead(self) -> int:
        """Try every dead message again; how many. Raises StoreUnavailable."""
        messages = await self._store.requeue_dead(now=self._clock.now())
        log.info("queue.dead_requeued", messages=messages)
        self._wake()
        return messages

    def counts(self) -> Mapping[State, int]:
        """Messages by state, O(1)."""
        return self._store.counts()

    def oldest_queued_at(self) -> float | None:
        """When the oldest message that is still queued was accepted, Unix seconds, O(1)."""
        return self._store.oldest_queued_at()

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` when counts may have changed; the answer ends that."""
        return self._store.subscribe(lambda _: listener())

    def _asked(self, wish: str, message: Message | None) -> Message | None:
        if message is not None:
            log.info("message.asked", wish=wish, message=message.id, state=message.state.value)
        return message


def _carrying(context: SpanContext, messages: Sequence[NewMessage], recorded: int) -> list[NewMessage]:
    """The messages with the span in which they are accepted; those beyond the first `recorded` are not
    recorded on their way, which follows what this says (`service/telemetry/sampling.py`)."""
    first, rest = traceparent_of(context), unsampled(context)
    return [
        replace(m, traceparent=(first if at < recorded else rest) or m.traceparent)
        for at, m in enumerate(messages)
    ]


def check_all(messages: Sequence[NewMessage], *, now: float) -> list[NewMessage]:
    """All of them as they are kept. Raises InvalidInput for the first fault, the others' with it."""
    checked: list[NewMessage] = []
    faults: list[InvalidInput] = []
    for index, message in enumerate(messages):
        try:
            checked.append(check(message, field=f"messages[{index}]", now=now))
        except InvalidInput as fault:
            faults.append(fault)
    if faults:
        first, *others = faults
        first.others = others
        raise first
    return checked


def check(message: NewMessage, *, field: str, now: float) -> NewMessage:
    """The message as it is kept, its chat as a JID. Raises InvalidInput for the first fault."""
    chat = parse_chat(message.chat, field=f"{field}.to")
    content = parse_content(message.content, field=field)
    if not 0 <= message.priority <= MAX_PRIORITY:
        raise InvalidInput(f"{field}.priority", f"{message.priority}: must be 0 to {MAX_PRIORITY}")
    if message.max_attempts < 1:
        raise InvalidInput(f"{field}.max_attempts", f"{message.max_attempts}: must be at least 1")
    earliest = now if message.not_before is None else max(now, message.not_before)
    if message.expires_at is not None and message.expires_at <= earliest:
        raise InvalidInput(f"{field}.expires_at", "must be later than now and than not_before")
    return replace(message, chat=chat, content=content)

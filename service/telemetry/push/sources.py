"""What is there to be pushed: the spans that have ended, and what the registry says."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from prometheus_client import CollectorRegistry, Counter

from service.clock import Clock
from service.telemetry.push.collected import Family, collected
from service.telemetry.push.encoding import encoded
from service.telemetry.push.metrics import Signal
from service.telemetry.push.points import NS
from service.telemetry.push.translate import Translation, Translator


class Source(Protocol):
    """Where an exporter takes from. All but what `take` returns is called in the event loop."""

    signal: Signal

    async def due(self) -> None:
        """Return when it is time for the next export."""

    def take(self) -> Callable[[], bytes] | None:
        """What makes the next request's body, in any thread; None when there is nothing to send."""

    def arrived(self) -> None:
        """What was taken last has been accepted."""

    def given_up(self) -> None:
        """What was taken last will never be accepted. Told neither way, it is taken again."""

    @property
    def left(self) -> int:
        """How much is waiting that the receiver has not seen in any form."""


class Spans(SpanProcessor):
    """Ended spans, the oldest first. When they are too many the oldest go, and are counted.

    In place of the SDK's BatchSpanProcessor, whose export blocks a stop for as long as a receiver likes, and
    which drops a batch that a receiver was too busy to take.
    """

    signal = Signal.TRACES

    def __init__(self, *, room: int, batch: int, delay_s: float, dropped: Counter, clock: Clock) -> None:
        self._room = room
        self._batch_size = batch
        self._delay_s = delay_s
        self._dropped = dropped
        self._clock = clock
        self._waiting: deque[ReadableSpan] = deque()
        self._taken: Sequence[ReadableSpan] = ()
        self._enough = asyncio.Event()

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a span that is sampled. Called in the event loop, where all our spans end."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        self._waiting.append(span)
        if self.left > self._room:
            self._waiting.popleft()
            self._dropped.inc()
        if len(self._waiting) >= self._batch_size:
            self._enough.set()

    async def due(self) -> None:
        delay = asyncio.create_task(self._clock.sleep(self._delay_s))
        enough = asyncio.create_task(self._enough.wait())
        try:
            await asyncio.wait({delay, enough}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            delay.cancel()
            enough.cancel()

    def take(self) -> Callable[[], bytes] | None:
        if not self._taken:
            size = min(self._batch_size, len(self._waiting))
            self._taken = [self._waiting.popleft() for _ in range(size)]
            if len(self._waiting) < self._batch_size:
                self._enough.clear()
        return partial(encoded, self._taken) if self._taken else None

    def arrived(self) -> None:
        self._taken = ()

    def given_up(self) -> None:
        self._dropped.inc(len(self._taken))
        self._taken = ()

    @property
    def left(self) -> int:
        return len(self._waiting) + len(self._taken)


class Figures:
    """The whole registry, collected in the event loop as a scrape does; it is translated elsewhere."""

    signal = Signal.METRICS

    def __init__(
        self, registry: CollectorRegistry, translator: Translator, *, interval_s: float, clock: Clock
    ) -> None:
        self._registry = registry
        self._translator = translator
        self._interval_s = interval_s
        self._clock = clock
        self._translation: Translation | None = None

    async def due(self) -> None:
        await self._clock.sleep(self._interval_s)

    def take(self) -> Callable[[], bytes]:
        return partial(self._encoded, collected(self._registry), int(self._clock.now() * NS))

    def arrived(self) -> None:
        assert self._translation is not None
        self._translator.accepted(self._translation)

    def given_up(self) -> None:
        """The next request has it all."""

    @property
    def left(self) -> int:
        return 0

    def _encoded(self, families: Sequence[Family], at_ns: int) -> bytes:
        self._translation = self._translator.translate(families, at_ns=at_ns)
        return self._translation.body

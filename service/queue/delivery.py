"""One claimed message on its way to the engine: in its turn, with its file, at its time."""

from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Final, Protocol

import structlog
from opentelemetry.trace import Tracer

from service.clock import Clock
from service.engine.content import AnyContent, Media
from service.engine.protocol import Refused, Sent
from service.errors import EngineError, EngineGone, EngineTimeout, StoreUnavailable
from service.queue import outcome as outcomes
from service.queue import spans
from service.queue.files import OutgoingFiles
from service.queue.flights import Flight, Flights
from service.queue.metrics import QueueMetrics
from service.queue.model import Message, SendResult
from service.queue.outcome import Outcome, Postponed, PostponeReason
from service.queue.pace.contract import Pacer
from service.telemetry.within import failed, within

log = structlog.get_logger(__name__)

AGAIN_S: Final = (5.0, 30.0)
"""When to try again with a message whose file or acquaintance could not be read, drawn from this range."""


class SendFunction(Protocol):
    """Hands one message to the engine, in the order of the calls, and answers what came of it.

    `file` is the path of the bytes that the content names. Raises EngineGone, EngineTimeout; another
    EngineError when the engine cannot be told of the message at all.
    """

    async def __call__(
        self,
        *,
        token: int,
        chat: str,
        content: AnyContent,
        file: Path | None,
        secret: bytes,
        behind: int | None,
        traceparent: str | None,
    ) -> Sent | Refused: ...


class Delivery:
    """Attempts; what comes of them is for others to write down."""

    def __init__(
        self,
        *,
        send: SendFunction,
        flights: Flights,
        files: OutgoingFiles,
        pacer: Pacer,
        clock: Clock,
        rng: Random,
        metrics: QueueMetrics,
        tracer: Tracer,
    ) -> None:
        self._send = send
        self._flights = flights
        self._files = files
        self._pacer = pacer
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._tracer = tracer
        self.stopping = False
        """Set when the service stops: what the engine does not have yet is skipped."""

    async def attempt(self, flight: Flight) -> Outcome | Postponed:
        """Send the message, unless it is not its turn. The pacer is told what it has to know."""
        before = self._flights.before(flight)
        if before is not None:
            await before.handed.wait()
        if self._skips(flight):
            return outcomes.skipped()
        message = flight.claim.message
        try:
            not_before = await self._pacer.not_before(message)
        except StoreUnavailable as error:
            return self._not_ready(message, PostponeReason.STORE, error)
        if not_before is not None:
            return Postponed(PostponeReason.PACING, not_before)
        outcome = await self._with_file(flight)
        if isinstance(outcome, Outcome):
            await self._tell_pacer(message, outcome)
        return outcome

    async def _tell_pacer(self, message: Message, outcome: Outcome) -> None:
        match outcome.result:
            case SendResult.SENT | SendResult.UNKNOWN:
                self._pacer.sent(message)
            case SendResult.RETRYABLE | SendResult.RATE_LIMITED | SendResult.PERMANENT:
                await self._pacer.refused(message, outcome.rule.name)

    def _skips(self, flight: Flight) -> bool:
        if self.stopping:
            return True
        if flight.claim.behind is None:
            return False
        before = self._flights.before(flight)
        return before is None or before.sent is False

    async def _with_file(self, flight: Flight) -> Outcome | Postponed:
        message = flight.claim.message
        if not isinstance(message.content, Media):
            return await self._hand_over(flight, file=None)
        sha256 = message.content.file.sha256
        async with AsyncExitStack() as held:
            try:
                file = await held.enter_async_context(self._files.held(sha256))
            except (OSError, StoreUnavailable) as error:
                return self._not_ready(message, PostponeReason.FILE, error)
            if file is None:
                return outcomes.file_missing(sha256)
            if self._skips(flight):
                return outcomes.skipped()
            return await self._hand_over(flight, file=file)

    async def _hand_over(self, flight: Flight, *, file: Path | None) -> Outcome:
        claim, message = flight.claim, flight.claim.message
        before = self._flights.before(flight)
        self._metrics.handed(waited_s=self._clock.now() - message.due_at)
        with within(spans.send(self._tracer, message)) as span:
            flight.handed.set()
            try:
                answer = await self._send(
                    token=claim.token,
                    chat=message.chat,
                    content=message.content,
                    file=file,
                    secret=message.secret,
                    behind=None if before is None or before.sent else claim.behind,
                    traceparent=spans.traceparent(span),
                )
            except (EngineGone, EngineTimeout) as error:
                outcome = outcomes.lost(error)
            except EngineError as error:
                outcome = outcomes.unfit(error)
            else:
                outcome = outcomes.judge(answer)
            if outcome.result is not SendResult.SENT:
                failed(span, outcome.rule.name)
        return outcome

    def _not_ready(self, message: Message, reason: PostponeReason, error: Exception) -> Postponed:
        log.error("message.not_ready", message=message.id, reason=reason.value, error=str(error))
        return Postponed(reason, self._clock.now() + self._rng.uniform(*AGAIN_S))

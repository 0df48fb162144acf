"""Does a quiet connection still hear: a question to WhatsApp now and then, and what no answer means.

Pings are answered inside whatsmeow, and an account that nobody writes to receives nothing for days: only
something that WhatsApp's server has to answer tells quiet from deaf. It says nothing of whatsmeow's queue for
messages and receipts, which answers do not pass (client.go, handleFrame).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

import structlog
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from service.clock import Clock
from service.engine.protocol import (
    Answered,
    AnyEvent,
    ConnectEnded,
    Disconnected,
    EventsDropped,
    Heartbeat,
    Hello,
    KeepAliveTimeout,
    PairingEnded,
)
from service.errors import EngineError
from service.reconnect.metrics import QuestionOutcome, ReconnectMetrics
from service.reconnect.ports import Engine
from service.reconnect.rule import HOUR, WATCH_S, Watch
from service.reconnect.watches import Watches

log = structlog.get_logger(__name__)

NO_STANZA: Final = (
    *(Hello, Heartbeat, EventsDropped),
    *(KeepAliveTimeout, Disconnected, ConnectEnded, PairingEnded),
)
"""Events that the engine or whatsmeow makes by itself, or may: losses, above all. Every other one proves that
something came from WhatsApp."""

REST_S: Final = (240.0, 360.0)
"""From the end of one question to the next: at most 360 of them a day, where whatsmeow's pings are
3,500. Drawn anew each time, so that many accounts do not ask at once."""

LONGEST_REST_S: Final = HOUR
"""The rest doubles with every deafness found in a row, up to this: a server that came to ignore this question
altogether must not cost a login every few minutes."""

_DOUBLINGS: Final = 8
_WATCHES: Final = (Watch.QUIET, Watch.ANSWER, Watch.LAST_ANSWER)


@dataclass(eq=False, slots=True)
class _Question:
    engine: Engine
    span: Span


class Hearing:
    """Asks when nothing has come for two keep-alive periods, and once more when no answer comes.

    All methods but `heard` are called in the keeper's turn; what happens elsewhere comes back through `post`,
    its inbox.
    """

    def __init__(
        self,
        *,
        watches: Watches,
        post: Callable[..., None],
        clock: Clock,
        rng: Random,
        metrics: ReconnectMetrics,
        tracer: Tracer,
    ) -> None:
        self._watches = watches
        self._post = post
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._tracer = tracer
        self._tasks: asyncio.TaskGroup | None = None
        self._engine: Engine | None = None
        self._open: _Question | None = None
        self._heard_at = clock.monotonic()
        self._silent = False
        self._not_before = self._heard_at
        self._in_vain = 0

    def event(self, event: AnyEvent) -> None:
        """The engine told something."""
        if not isinstance(event, NO_STANZA):
            self.heard()
        elif isinstance(event, KeepAliveTimeout):
            self.end()  # the line may be dead, which the lost pings decide; a deaf one answers them

    def heard(self) -> None:
        """Something came from WhatsApp. To be called at any time."""
        self._silent = False
        self._heard_at = self._clock.monotonic()
        self._metrics.last_stanza_at.set(self._clock.now())

    def begin(self, tasks: asyncio.TaskGroup, engine: Engine) -> None:
        """This connection is usable: its silence is watched."""
        self.end()
        self._tasks, self._engine = tasks, engine
        self._wait()

    def end(self) -> None:
        """It is not, or not certainly so."""
        for watch in _WATCHES:
            self._watches.disarm(watch)
        if self._open is not None:
            self._close(QuestionOutcome.ABANDONED)
            self._rest()

    def elapsed(self, watch: Watch) -> bool:
        """One of its watches elapsed; False when the decision table has to say what that means."""
        match watch:
            case Watch.QUIET if self._due_in_s() > 0:
                self._wait()
            case Watch.QUIET:
                self._silent = True
                self._ask(Watch.ANSWER)
            case Watch.ANSWER | Watch.LAST_ANSWER:
                return self._unanswered(last=watch is Watch.LAST_ANSWER)
            case _:
                return False
        return True

    def _unanswered(self, *, last: bool) -> bool:
        self._close(QuestionOutcome.UNANSWERED)
        if self._silent and not last:
            self._ask(Watch.LAST_ANSWER)
            return True
        self._rest()
        if self._silent:
            self._in_vain += 1
            return False
        self._wait()  # something else came meanwhile
        return True

    def _wait(self) -> None:
        self._arm(Watch.QUIET, max(0.0, self._due_in_s()))

    def _due_in_s(self) -> float:
        due_at = max(self._heard_at + WATCH_S[Watch.QUIET], self._not_before)
        return due_at - self._clock.monotonic()

    def _rest(self) -> None:
        doubled = 2.0 ** min(self._in_vain, _DOUBLINGS)
        rest_s = min(LONGEST_REST_S, self._rng.uniform(*REST_S) * doubled)
        self._not_before = self._clock.monotonic() + rest_s

    def _ask(self, watch: Watch) -> None:
        assert self._engine is not None, "begin() was called"
        question = _Question(self._engine, self._tracer.start_span("question", kind=SpanKind.CLIENT))
        self._open = question
        self._group.create_task(self._asking(question), name="question")
        self._arm(watch, WATCH_S[watch])

    async def _asking(self, question: _Question) -> None:
        answer: Answered | None = None
        try:
            answer = await question.engine.ask_server()
        except EngineError as error:  # the watch decides when no answer counts
            log.info("connection.question_failed", error=str(error))
        self._post(self._answered, question, answer)

    def _answered(self, question: _Question, answer: Answered | None) -> None:
        if answer is None or question.engine is not self._engine:
            return
        self.heard()
        self._in_vain = 0
        if question is not self._open:
            return  # it came late, and was counted then
        self._close(QuestionOutcome.REFUSED if answer.refused else QuestionOutcome.ANSWERED)
        for watch in _WATCHES:
            self._watches.disarm(watch)
        self._rest()
        self._wait()

    def _close(self, outcome: QuestionOutcome) -> None:
        question, self._open = self._open, None
        assert question is not None, "a question is open"
        self._metrics.asked(outcome)
        question.span.set_attribute("whatsapp.outcome", outcome.value)
        if outcome is QuestionOutcome.UNANSWERED:
            question.span.set_attribute("error.type", outcome.value)
            question.span.set_status(Status(StatusCode.ERROR, "WhatsApp did not answer"))
            log.warning("connection.question", outcome=outcome.value)
        else:
            log.debug("connection.question", outcome=outcome.value)
        question.span.end()

    @property
    def _group(self) -> asyncio.TaskGroup:
        assert self._tasks is not None, "begin() was called"
        return self._tasks

    def _arm(self, watch: Watch, seconds: float) -> None:
        self._watches.arm(self._group, watch, seconds=seconds)

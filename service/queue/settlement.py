"""Writes down what came of a claim, whatever it takes."""

from random import Random
from typing import Final

import structlog

from service.clock import Clock
from service.queue import outcome as outcomes
from service.queue.metrics import QueueMetrics
from service.queue.model import Claim, Message, SendResult, State
from service.queue.outcome import Outcome, Postponed
from service.queue.pause import Pause
from service.queue.persistence import Persistence
from service.queue.receipts import delivery_s
from service.queue.store import QueueStore
from service.queue.unknowns import Unknowns
from service.telemetry.pseudonym import Pseudonyms

log = structlog.get_logger(__name__)

ENGINE_END_S: Final = 10.0
"""After a send passed its deadline: the engine is being killed (SIGTERM, 5 s, SIGKILL), and only when it
is gone does its store say for certain whether the message left."""


class Settlement:
    """What an attempt's outcome means for the message, and for those that come after."""

    def __init__(
        self,
        *,
        store: QueueStore,
        persistence: Persistence,
        unknowns: Unknowns,
        pause: Pause,
        clock: Clock,
        rng: Random,
        metrics: QueueMetrics,
        pseudonyms: Pseudonyms,
    ) -> None:
        self._store = store
        self._persistence = persistence
        self._unknowns = unknowns
        self._pause = pause
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._pseudonyms = pseudonyms

    async def settle(self, claim: Claim, outcome: Outcome | Postponed) -> SendResult | None:
        """Keep what came of a claim; the result that counts, None when there was no attempt."""
        if isinstance(outcome, Postponed):
            await self._postpone(claim, outcome)
            return None
        match outcome.result:
            case SendResult.SENT:
                await self._complete(claim, outcome)
            case SendResult.NOT_CONNECTED:
                await self._release(claim, outcome)
            case SendResult.UNKNOWN:
                return await self._look_up(claim, outcome)
            case _:
                await self._fail(claim, outcome)
        return None if outcome.skipped else outcome.result

    async def _postpone(self, claim: Claim, postponed: Postponed) -> None:
        self._metrics.postponed(postponed.reason)
        now = self._clock.now()
        await self._persistence.done(
            "postpone", lambda: self._store.postpone(claim, until=postponed.until, now=now)
        )
        wait_s = round(postponed.until - now, 3)
        self._log("message.postponed", claim.message, reason=postponed.reason.value, wait_s=wait_s)

    async def _complete(self, claim: Claim, outcome: Outcome) -> None:
        self._pause.all_is_well()
        whatsapp_id = outcome.whatsapp_id or ""
        message = await self._persistence.done(
            "complete",
            lambda: self._store.complete(claim, whatsapp_id=whatsapp_id, now=self._clock.now()),
        )
        if message is None:
            return
        now = self._clock.now()
        self._metrics.sent(message, now=message.sent_at or now)  # the commit may have waited for company
        if message.state is not State.SENT:  # its receipt was faster
            self._metrics.delivered(delivery_s(message.accepted_at, message.delivered_at, now))
        self._log("message.sent", message, state=message.state.value)

    async def _release(self, claim: Claim, outcome: Outcome) -> None:
        if not outcome.skipped:
            self._pause.begin()
        await self._persistence.done("release", lambda: self._store.release(claim, now=self._clock.now()))
        self._log("message.released", claim.message, reason=outcome.rule.name)

    async def _look_up(self, claim: Claim, outcome: Outcome) -> SendResult:
        self._pause.begin()
        if outcome.overdue:
            await self._clock.sleep(ENGINE_END_S)
        message = await self._unknowns.look_up(claim, error=outcome.text)
        never_left = message is not None and message.state is State.QUEUED
        return SendResult.NOT_CONNECTED if never_left else SendResult.UNKNOWN

    async def _fail(self, claim: Claim, outcome: Outcome) -> None:
        now = self._clock.now()
        retry_at = outcomes.retry_at(outcome, claim.message, now=now, rng=self._rng)
        message = await self._persistence.done(
            "fail",
            lambda: self._store.fail(
                claim, result=outcome.result, error=outcome.text, retry_at=retry_at, now=now
            ),
        )
        if message is not None:
            retry_in_s = round(message.due_at - now, 3) if message.state is State.QUEUED else None
            state = message.state.value
            self._log("message.failed", message, reason=outcome.rule.name, state=state, retry_in_s=retry_in_s)

    def _log(self, event: str, message: Message, **facts: object) -> None:
        chat = self._pseudonyms.chat(message.chat)
        log.info(event, message=message.id, chat=chat, attempt=message.attempts, **facts)

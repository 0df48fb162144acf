"""Takes messages from the store, hands them to the engine, and settles what came of them.

The engine sends one message at a time. Behind the one in flight a few more are kept at hand, so that
neither the commit of a claim nor that of a completion costs the engine time: while one message is on
its way, the last one's completion and the next one's claim share a commit.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from random import Random
from secrets import token_hex
from typing import Final, Protocol

import structlog
from opentelemetry import trace
from opentelemetry.trace import Tracer

from service.clock import Clock
from service.engine.protocol import Receipt, Refusal, Refused, Sent
from service.errors import EngineError, EngineGone, EngineTimeout, StoreUnavailable
from service.queue import outcome as outcomes
from service.queue import spans
from service.queue.alarm import Alarm
from service.queue.metrics import QueueMetrics
from service.queue.model import Claim, Message, Receipted, SendResult, State
from service.queue.outcome import Outcome
from service.queue.persistence import Persistence, backoff_s
from service.queue.receipts import Receipts, delivery_s
from service.queue.store import QueueStore
from service.queue.unknowns import Unknowns
from service.telemetry.pseudonym import Pseudonyms

log = structlog.get_logger(__name__)

AT_HAND: Final = 6
"""Messages handed to the engine at once, the one in flight included; it takes 8. With sends of 2.5 ms
and a quick disk, 2 to 6 measured alike; more at hand is meant for commits that take longer than a send."""

TICK_S: Final = 1.0
"""How often unknown outcomes and expiry are looked at."""

PRUNE_EVERY_S: Final = 3600.0

ENGINE_END_S: Final = 10.0
"""After a send passed its deadline: the engine is being killed (SIGTERM, 5 s, SIGKILL), and only when it
is gone does its store say for certain whether the message left."""

_REMEMBERED: Final = 64


class SendFunction(Protocol):
    """Hands one message to the engine and answers what came of it; raises EngineGone, EngineTimeout."""

    async def __call__(
        self,
        *,
        token: int,
        chat: str,
        text: str,
        secret: bytes,
        behind: int | None,
        traceparent: str | None,
    ) -> Sent | Refused: ...


class Dispatcher:
    """The one who sends. `run` once; `stop` from anywhere."""

    def __init__(
        self,
        *,
        store: QueueStore,
        send: SendFunction,
        find_message_id: Callable[[bytes], Awaitable[str | None]],
        worker: str,
        unknown_wait_s: float,
        clock: Clock,
        rng: Random,
        metrics: QueueMetrics,
        tracer: Tracer,
        pseudonyms: Pseudonyms,
        at_hand: int = AT_HAND,
    ) -> None:
        self._store = store
        self._send = send
        # a process id comes again after a restart, and then the claims it left would look like ours
        self._worker = f"{worker}-{token_hex(4)}"
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._tracer = tracer
        self._pseudonyms = pseudonyms
        self._most_at_hand = at_hand
        self._persistence = Persistence(clock=clock, rng=rng, metrics=metrics)
        self._unknowns = Unknowns(
            store=store,
            persistence=self._persistence,
            find_message_id=find_message_id,
            wait_s=unknown_wait_s,
            clock=clock,
            rng=rng,
            metrics=metrics,
        )
        self._receipts = Receipts(
            store=store,
            persistence=self._persistence,
            on_moved=self._receipted,
            clock=clock,
            metrics=metrics,
            tracer=tracer,
            pseudonyms=pseudonyms,
        )
        self._alarm = Alarm(clock)
        self._connected_since: float | None = None
        self._paused_until = 0.0
        self._failures = 0
        self._stopping = False
        self._rescued = False
        self._ended = asyncio.Event()
        self._ended.set()
        self._at_hand: set[int] = set()
        self._claiming = 0
        self._deliveries: set[asyncio.Task[None]] = set()
        self._settled: dict[int, asyncio.Event] = {}
        self._went: OrderedDict[int, bool] = OrderedDict()
        self._group: asyncio.TaskGroup | None = None
        self.heartbeat_at = clock.monotonic()
        """clock.monotonic() of the last sign of life; the store or WhatsApp being away does not stop it."""

    # --- told from outside ------------------------------------------------------------------------

    def connected(self) -> None:
        """The account is connected: claim at once."""
        if self._connected_since is None:
            self._connected_since = self._clock.monotonic()
            self._paused_until = 0.0
            self._failures = 0
        self._alarm.ring()

    def disconnected(self) -> None:
        """The account is not connected: claim nothing."""
        self._connected_since = None

    def wake(self) -> None:
        """Something may have become claimable."""
        self._alarm.ring()

    def receipt(self, receipt: Receipt) -> None:
        """A receipt came; it is handled in the dispatcher's own time."""
        self._receipts.put(receipt)

    async def stop(self) -> None:
        """Claim no more, let sends in flight end and receipts be written; return when `run` has ended."""
        self._stopping = True
        self._persistence.ending = True
        self._alarm.ring()
        await self._ended.wait()

    # --- the loop ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send what is in the store, until stopped. Errors of the store or the engine do not end it."""
        self._ended.clear()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                background = [
                    group.create_task(self._beat(), name="dispatcher-heartbeat"),
                    group.create_task(self._receipts.run(), name="dispatcher-receipts"),
                    group.create_task(self._keep(), name="dispatcher-keeper"),
                ]
                await self._rescue()
                while not self._stopping:
                    while await self._claim_next():
                        pass
                    await self._alarm.wait(await self._idle_s())
                while self._deliveries:
                    await asyncio.wait(self._deliveries)
                await self._receipts.drained()
                for task in background:
                    task.cancel()
        finally:
            self._group = None
            self._ended.set()

    async def _rescue(self) -> None:
        """Settle what an earlier process left in `sending`, before anything of its chats may be claimed."""
        await self._unknowns.load()
        left = await self._persistence.done("orphans", lambda: self._store.orphans(worker=self._worker))
        for claim in left or ():
            await self._unknowns.look_up(claim, error="the process that was sending it ended")

    def _may_claim(self) -> bool:
        return (
            self._connected_since is not None
            and not self._stopping
            and len(self._at_hand) + self._claiming < self._most_at_hand
            and self._clock.monotonic() >= self._paused_until
        )

    async def _claim_next(self) -> bool:
        """Claim one message and start delivering it; whether there was one."""
        if not self._may_claim():
            return False
        self._claiming += 1
        try:
            claim = await self._store.claim(worker=self._worker, now=self._clock.now())
        except StoreUnavailable as error:
            log.error("queue.store_failed", operation="claim", error=str(error))  # noqa: TRY400
            self._pause()
            return False
        finally:
            self._claiming -= 1
        if claim is None:
            return False
        self._at_hand.add(claim.token)
        self._settled[claim.token] = asyncio.Event()
        self._start(self._deliver(claim))
        return True

    def _start(self, work: Coroutine[object, object, None]) -> None:
        assert self._group is not None
        # a context of its own: the next message's span must not become a child of this one's
        task = self._group.create_task(work, context=Context())
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)

    async def _idle_s(self) -> float | None:
        """How long the loop may rest: until something is due or a pause ends; None: until it is woken."""
        if self._connected_since is None or self._stopping:
            return None
        if (pause_s := self._paused_until - self._clock.monotonic()) > 0:
            return pause_s
        if not self._may_claim():
            return None
        try:
            due_at = await self._store.next_due()
        except StoreUnavailable as error:
            log.error("queue.store_failed", operation="next_due", error=str(error))  # noqa: TRY400
            self._pause()
            return max(0.0, self._paused_until - self._clock.monotonic())
        return None if due_at is None else max(0.0, due_at - self._clock.now())

    def _pause(self) -> None:
        """Claim nothing for a moment, longer each time, until a message is sent or we are connected anew."""
        self._failures += 1
        self._paused_until = self._clock.monotonic() + backoff_s(self._failures, self._rng)
        self._alarm.ring()

    # --- one message ------------------------------------------------------------------------------

    async def _deliver(self, claim: Claim) -> None:
        with trace.use_span(spans.process(self._tracer, claim.message), end_on_exit=True) as span:
            started = self._clock.monotonic()
            outcome = await self._attempt(claim)
            took_s = self._clock.monotonic() - started
            self._remember(claim.token, sent=outcome.result is SendResult.SENT)
            if outcome.refusal is Refusal.SKIPPED and claim.behind in self._settled:
                # only then the store knows what holds the chat back; claimed sooner, this one would be
                # skipped again and again
                await self._settled[claim.behind].wait()
            self._at_hand.discard(claim.token)
            assert self._group is not None
            # both begin in the same turn of the event loop, so that they share a commit
            settled = self._group.create_task(self._settle(claim, outcome))
            self._start(self._claim_or_wake())
            result = await settled
            self._settled.pop(claim.token).set()
            if outcome.refusal is not Refusal.SKIPPED:
                self._metrics.attempted(result, took_s=took_s)
            if result is not SendResult.SENT:
                spans.failed(span, outcome.rule.name)

    async def _claim_or_wake(self) -> None:
        if not await self._claim_next():
            self._alarm.ring()

    async def _attempt(self, claim: Claim) -> Outcome:
        message, behind = claim.message, claim.behind
        if behind is not None and (behind in self._went or behind not in self._at_hand):
            if not self._went.get(behind, False):
                return outcomes.skipped()
            behind = None
        if self._stopping:
            return outcomes.skipped()
        self._metrics.handed(waited_s=self._clock.now() - message.due_at)
        with trace.use_span(spans.send(self._tracer, message), end_on_exit=True) as span:
            try:
                answer = await self._send(
                    token=claim.token,
                    chat=message.chat,
                    text=message.content.text,  # type: ignore[union-attr]
                    secret=message.secret,
                    behind=behind,
                    traceparent=spans.traceparent(span),
                )
            except (EngineGone, EngineTimeout) as error:
                outcome = outcomes.lost(error)
            except EngineError as error:
                outcome = outcomes.unfit(error)
            else:
                outcome = outcomes.judge(answer)
            if outcome.result is not SendResult.SENT:
                spans.failed(span, outcome.rule.name)
        return outcome

    def _remember(self, token: int, *, sent: bool) -> None:
        """For claims behind this one that are begun after it ended."""
        self._went[token] = sent
        if len(self._went) > _REMEMBERED:
            self._went.popitem(last=False)

    # --- what came of it --------------------------------------------------------------------------

    async def _settle(self, claim: Claim, outcome: Outcome) -> SendResult:
        """Write down what came of an attempt; the result that counts."""
        match outcome.result:
            case SendResult.SENT:
                await self._complete(claim, outcome)
            case SendResult.NOT_CONNECTED:
                await self._release(claim, outcome)
            case SendResult.UNKNOWN:
                return await self._look_up(claim, outcome)
            case _:
                await self._fail(claim, outcome)
        return outcome.result

    async def _complete(self, claim: Claim, outcome: Outcome) -> None:
        self._failures = 0
        whatsapp_id = outcome.whatsapp_id or ""
        message = await self._persistence.done(
            "complete",
            lambda: self._store.complete(claim, whatsapp_id=whatsapp_id, now=self._clock.now()),
        )
        if message is None:
            return
        if message.state is not State.SENT:  # its receipt was faster
            self._metrics.delivered(delivery_s(message.accepted_at, message.delivered_at, self._clock.now()))
        self._log("message.sent", message, state=message.state.value)

    async def _release(self, claim: Claim, outcome: Outcome) -> None:
        if outcome.refusal is not Refusal.SKIPPED:
            self._pause()
        await self._persistence.done("release", lambda: self._store.release(claim, now=self._clock.now()))
        self._log("message.released", claim.message, reason=outcome.rule.name)
        self._alarm.ring()

    async def _look_up(self, claim: Claim, outcome: Outcome) -> SendResult:
        self._pause()
        if outcome.overdue:
            await self._clock.sleep(ENGINE_END_S)
        message = await self._unknowns.look_up(claim, error=outcome.text)
        self._alarm.ring()
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
        self._alarm.ring()

    def _log(self, event: str, message: Message, **facts: object) -> None:
        chat = self._pseudonyms.chat(message.chat)
        log.info(event, message=message.id, chat=chat, attempt=message.attempts, **facts)

    def _receipted(self, receipted: Receipted) -> None:
        self._unknowns.receipted(receipted)
        if receipted.before is not State.SENT:
            self._alarm.ring()  # its chat may go on

    # --- beside the loop --------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            self.heartbeat_at = self._clock.monotonic()
            self._metrics.beat(self._clock.now())
            await self._clock.sleep(TICK_S)

    async def _keep(self) -> None:
        """Resolve unknown outcomes, expire what is too late, forget what is past its retention."""
        pruned_at: float | None = None
        while True:
            now = self._clock.monotonic()
            try:
                if self._connected_since is not None and await self._unknowns.resolve(
                    connected_since=self._connected_since
                ):
                    self._alarm.ring()
                if self._store.counts()[State.QUEUED] and (
                    expired := await self._store.expire(now=self._clock.now())
                ):
                    log.warning("queue.expired", messages=expired)
                    self._alarm.ring()
                if pruned_at is None or now - pruned_at >= PRUNE_EVERY_S:
                    forgotten = await self._store.prune(now=self._clock.now())
                    pruned_at = now
                    log.info("queue.pruned", messages=forgotten)
            except StoreUnavailable as error:
                log.error("queue.store_failed", operation="keep", error=str(error))  # noqa: TRY400
            await self._clock.sleep(TICK_S)

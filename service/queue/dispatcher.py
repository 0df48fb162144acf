"""Takes messages from the store, has them delivered, and looks after those whose outcome is unknown.

The engine sends one message at a time. Behind the one in flight a few more are kept at hand, so that
neither the commit of a claim nor that of a completion costs the engine time. When half of them are gone
the next are claimed together, in the commit that keeps the completions. Each has one task, from its claim
until what came of it is kept.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from secrets import token_hex
from typing import Final

import structlog
from opentelemetry.trace import Tracer

from service.clock import Clock
from service.engine.protocol import Receipt
from service.errors import DataDirUnusable, StoreUnavailable
from service.queue import spans
from service.queue.alarm import Alarm
from service.queue.delivery import Delivery, SendFunction
from service.queue.files import OutgoingFiles
from service.queue.flights import Flight, Flights
from service.queue.metrics import QueueMetrics
from service.queue.model import Claim, Moves, SendResult, State
from service.queue.outcome import Outcome
from service.queue.pace.contract import Pacer
from service.queue.pause import Pause
from service.queue.persistence import Persistence
from service.queue.receipts import Receipts
from service.queue.settlement import Settlement
from service.queue.store import QueueStore
from service.queue.unknowns import Unknowns, worker_name
from service.telemetry.pseudonym import Pseudonyms
from service.telemetry.within import failed, within

log = structlog.get_logger(__name__)

AT_HAND: Final = 16
"""Messages handed to the engine at once, the one in flight included; it takes 20. Half of them have to last
while the next are claimed, which may be two commits long: with sends of 2 ms on a machine that others used,
10 at hand made 200 to 300 sends a second, 20 made 330 to 450, and on a quiet one 16 as many as 20."""

FAIR_EVERY: Final = 8
"""One of so many claims takes the earliest accepted message whatever its priority. So a message with n
earlier ones waits for at most 8 n of the account's claims and those at hand, and as many for each of their
further attempts."""

TICK_S: Final = 1.0
"""How often unknown outcomes and expiry are looked at."""

LONGEST_REST_S: Final = 60.0
"""How long nothing is looked for at most: a wall clock that is set moves what is due."""

PRUNE_EVERY_S: Final = 3600.0

_NO_NEWS: Final = frozenset(
    {
        (State.QUEUED, State.SENDING),
        (State.SENDING, State.SENT),
        (State.SENDING, State.DELIVERED),
        (State.SENDING, State.READ),
        (State.SENT, State.DELIVERED),
        (State.SENT, State.READ),
        (State.DELIVERED, State.READ),
    }
)
"""Moves after which nothing can be claimed that could not be before."""


class Dispatcher:
    """The one who sends. `run` once; `stop` from anywhere.

    `worker` names this process; `session_identity` names the session database as long as nothing of it is
    undone, and may raise DataDirUnusable.
    """

    def __init__(
        self,
        *,
        store: QueueStore,
        send: SendFunction,
        find_message_id: Callable[[bytes], Awaitable[str | None]],
        session_identity: Callable[[], str],
        files: OutgoingFiles,
        pacer: Pacer,
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
        self._session_identity = session_identity
        self._files = files
        self._pacer = pacer
        # a process id comes again after a restart, and then the claims it left would look like ours
        self._process = f"{worker}-{token_hex(4)}"
        self._worker = ""
        self._clock = clock
        self._metrics = metrics
        self._tracer = tracer
        self._most_at_hand = at_hand
        self._flights = Flights()
        self._pause = Pause(clock=clock, rng=rng)
        self._persistence = Persistence(clock=clock, rng=rng, metrics=metrics)
        self._unknowns = Unknowns(
            store=store,
            persistence=self._persistence,
            find_message_id=find_message_id,
            session_identity=session_identity,
            wait_s=unknown_wait_s,
            clock=clock,
            rng=rng,
            metrics=metrics,
        )
        self._delivery = Delivery(
            send=send,
            flights=self._flights,
            files=files,
            pacer=pacer,
            clock=clock,
            rng=rng,
            metrics=metrics,
            tracer=tracer,
        )
        self._settlement = Settlement(
            store=store,
            persistence=self._persistence,
            unknowns=self._unknowns,
            pause=self._pause,
            clock=clock,
            rng=rng,
            metrics=metrics,
            pseudonyms=pseudonyms,
        )
        self._receipts = Receipts(
            store=store,
            persistence=self._persistence,
            on_moved=self._unknowns.receipted,
            clock=clock,
            metrics=metrics,
            tracer=tracer,
            pseudonyms=pseudonyms,
        )
        self._alarm = Alarm(clock)
        self._connected_since: float | None = None
        self._named = False
        self._rescued = False
        self._holding = 0
        self._stopping = False
        self._ended = asyncio.Event()
        self._ended.set()
        self._fair_claims_owed = 0.0
        self._deliveries: set[asyncio.Task[None]] = set()
        self.heartbeat_at = clock.monotonic()
        """clock.monotonic() of the last sign of life; the store or WhatsApp being away does not stop it."""

    # --- told from outside ------------------------------------------------------------------------

    def connected(self) -> None:
        """The account is connected, so its lease is ours: claim at once, once what others left is settled."""
        if self._connected_since is None:
            self._connected_since = self._clock.monotonic()
            self._named = False
            self._pause.end()
        self._alarm.ring()

    def disconnected(self) -> None:
        """The account is not connected: claim nothing."""
        self._connected_since = None

    def disowned(self) -> None:
        """The account's lease is not ours: not connected, and others may send and leave claims meanwhile."""
        self.disconnected()
        self._holding += 1
        self._rescued = False

    def wake(self) -> None:
        """Something may have become claimable."""
        self._alarm.ring()

    def receipt(self, receipt: Receipt) -> None:
        """A receipt came; it is handled in the dispatcher's own time."""
        self._receipts.put(receipt)

    async def stop(self) -> None:
        """Claim no more, let sends in flight end and receipts be written; return when `run` has ended."""
        self._stopping = True
        self._delivery.stopping = True
        self._persistence.ending = True
        self._alarm.ring()
        await self._ended.wait()

    # --- the loop ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send what is in the store, until stopped. Errors of the store or the engine do not end it."""
        self._ended.clear()
        unsubscribe = self._store.subscribe(self._moved)
        try:
            async with asyncio.TaskGroup() as group:
                background = [
                    group.create_task(self._beat(), name="dispatcher-heartbeat"),
                    group.create_task(self._receipts.run(), name="dispatcher-receipts"),
                    group.create_task(self._keep(), name="dispatcher-keeper"),
                ]
                await self._clear_files()
                while not self._stopping:
                    await self._prepare()
                    while claims := await self._claim():
                        for claim in claims:
                            self._start(group, claim)
                    await self._alarm.wait(await self._idle_s())
                while self._deliveries:
                    await asyncio.wait(self._deliveries)
                await self._receipts.drained()
                for task in background:
                    task.cancel()
        finally:
            unsubscribe()
            self._ended.set()

    def _moved(self, moves: Moves) -> None:
        if not moves.keys() <= _NO_NEWS:
            self._alarm.ring()

    async def _clear_files(self) -> None:
        try:
            await self._files.clear()
        except OSError as error:
            log.error("outgoing.not_cleared", error=error.strerror)  # noqa: TRY400

    async def _prepare(self) -> None:
        """Once connected: claim under the session's name, and settle what others left in `sending` before
        anything of their chats may be claimed."""
        if self._connected_since is None:
            return
        if not self._named:
            try:
                self._worker = worker_name(self._session_identity(), self._process)
            except DataDirUnusable as error:
                log.error("queue.no_session_identity", error=str(error))  # noqa: TRY400
                self._pause.begin()
                return
            self._named = True
        if not self._rescued:
            holding = self._holding
            await self._persistence.done("open", self._pacer.open)
            await self._rescue()
            self._rescued = holding == self._holding

    async def _rescue(self) -> None:
        await self._unknowns.load()
        left = await self._persistence.done("orphans", lambda: self._store.orphans(worker=self._worker))
        for claim in left or ():
            if claim.token not in self._flights:
                await self._unknowns.look_up(claim, error="the process that was sending it ended")

    def _may_claim(self) -> bool:
        return (
            self._connected_since is not None
            and self._named
            and self._rescued
            and not self._stopping
            and self._flights.at_hand < self._most_at_hand
            and not self._pause.remaining_s
            and not self._pacer.ready_in_s()
        )

    async def _claim(self) -> list[Claim]:
        """As many as may be at hand now, and as the pacing has room for."""
        if not self._may_claim():
            return []
        limit = max(1, min(self._most_at_hand - self._flights.at_hand, self._pacer.room()))
        fair = self._fair_claims_owed >= 1.0
        if fair:
            limit = min(limit, int(self._fair_claims_owed))
        try:
            claims = await self._store.claim(
                worker=self._worker, now=self._clock.now(), limit=limit, fair=fair
            )
        except StoreUnavailable as error:
            log.error("queue.store_failed", operation="claim", error=str(error))  # noqa: TRY400
            self._pause.begin()
            self._alarm.ring()
            return []
        self._fair_claims_owed += -len(claims) if fair else len(claims) / (FAIR_EVERY - 1)
        return claims

    def _start(self, group: asyncio.TaskGroup, claim: Claim) -> None:
        delivery = group.create_task(self._deliver(self._flights.begin(claim)))
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._deliveries.discard)

    async def _idle_s(self) -> float | None:
        """How long the loop may rest: until something is due or may be sent; None: until it is woken."""
        if self._connected_since is None or self._stopping:
            return None
        if held_s := max(self._pause.remaining_s, self._pacer.ready_in_s()):
            return min(held_s, LONGEST_REST_S)
        if not self._may_claim():
            return None
        try:
            due_at = await self._store.next_due()
        except StoreUnavailable as error:
            log.error("queue.store_failed", operation="next_due", error=str(error))  # noqa: TRY400
            self._pause.begin()
            return self._pause.remaining_s
        if due_at is None:
            return LONGEST_REST_S
        return min(LONGEST_REST_S, max(0.0, due_at - self._clock.now()))

    # --- one message ------------------------------------------------------------------------------

    async def _deliver(self, flight: Flight) -> None:
        with within(spans.process(self._tracer, flight.claim.message)) as span:
            started = self._clock.monotonic()
            outcome = await self._delivery.attempt(flight)
            took_s = self._clock.monotonic() - started
            await self._flights.end(flight, outcome)
            if 2 * self._flights.at_hand <= self._most_at_hand and self._store.counts()[State.QUEUED]:
                self._alarm.ring()
            result = await self._settlement.settle(flight.claim, outcome)
            self._flights.settle(flight)
            if isinstance(outcome, Outcome) and result is not None:
                self._metrics.attempted(result, outcome.rule, took_s=took_s)
                if result is not SendResult.SENT:
                    failed(span, outcome.rule.name)

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
                if self._connected_since is not None:
                    await self._unknowns.resolve(connected_since=self._connected_since)
                if self._store.counts()[State.QUEUED] and (
                    expired := await self._store.expire(now=self._clock.now())
                ):
                    log.warning("queue.expired", messages=expired)
                if pruned_at is None or now - pruned_at >= PRUNE_EVERY_S:
                    forgotten = await self._store.prune(now=self._clock.now())
                    pruned_at = now
                    log.info("queue.pruned", messages=forgotten)
            except StoreUnavailable as error:
                log.error("queue.store_failed", operation="keep", error=str(error))  # noqa: TRY400
            await self._clock.sleep(TICK_S)

"""What the queue tells. Every label set exists from the start, so rates are right from the first event."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.engine.protocol import ReceiptKind
from service.queue.model import LIVE, Message, Moves, SendResult, State
from service.queue.outcome import ALL_RULES, PostponeReason, Rule, results_of
from service.telemetry.exemplar import exemplar

RESTING: Final = tuple(state for state in State if state not in LIVE)
"""States that a message reaches and stays in, or leaves only for a better one."""

WAIT_BUCKETS: Final = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
SEND_BUCKETS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 75, 90)
SENT_BUCKETS: Final = (0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
"""60 s and 5 min are what the objectives for sending speak of."""
DELIVERY_BUCKETS: Final = (0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
STORE_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class EnqueueOutcome(StrEnum):
    """What became of a message that was handed in."""

    CREATED = "created"
    DUPLICATE = "duplicate"  # its idempotency key is kept already
    REJECTED = "rejected"  # the store could not keep it


class RescueOutcome(StrEnum):
    """What the engine's notes or the session's store said of a send that never answered."""

    SENT = "sent"  # WhatsApp has it
    RELEASED = "released"  # it never left
    UNKNOWN = "unknown"  # it may have left
    ANOTHER_SESSION = "another_session"  # nothing, but it was sent with another one: it may have left
    UNREADABLE = "unreadable"  # it could not be read: it may have left


class Resolution(StrEnum):
    """How an unknown outcome was resolved."""

    RECEIPT = "receipt"
    RESENT = "resent"
    HELD = "held"
    DEAD = "dead"


class StoreErrorReason(StrEnum):
    """Why the store failed."""

    FULL = "full"
    UNAVAILABLE = "unavailable"


class StoreOperation(StrEnum):
    """What was asked of the store."""

    ENQUEUE = "enqueue"
    GET = "get"
    CLAIM = "claim"
    COMPLETE = "complete"
    RELEASE = "release"
    FAIL = "fail"
    MARK_UNKNOWN = "mark_unknown"
    ORPHANS = "orphans"
    UNKNOWNS = "unknowns"
    RESOLVE_UNKNOWN = "resolve_unknown"
    RECEIVE = "receive"
    EXPIRE = "expire"
    PRUNE = "prune"
    NEXT_DUE = "next_due"
    FIND = "find"
    CANCEL = "cancel"
    HOLD = "hold"
    REQUEUE = "requeue"
    REQUEUE_DEAD = "requeue_dead"
    KEEP_FILE = "keep_file"
    FILE = "file"
    ADOPT = "adopt"
    POSTPONE = "postpone"
    RESEND = "resend"
    HEARD = "heard"
    ACQUAINTANCE = "acquaintance"
    ACQUAINT = "acquaint"
    STRANGERS_SINCE = "strangers_since"
    COOL = "cool"
    COOLDOWNS = "cooldowns"


_WAY: Final = (State.SENT, State.DELIVERED, State.READ)


def _reached(before: State | None, state: State | None) -> Sequence[State]:
    """The resting states that a move leads to or past: a receipt may come before WhatsApp's answer."""
    if state not in _WAY:
        return (state,) if state in RESTING else ()
    return _WAY[_WAY.index(before) + 1 if before in _WAY else 0 : _WAY.index(state) + 1]


class QueueMetrics:
    """The queue's metrics. Observations made inside a sampled span carry it as exemplar."""

    def __init__(self, registry: CollectorRegistry, account: str) -> None:
        self._account = account
        self._held_s: Callable[[float, float], float] = lambda _, __: 0.0
        self._declare_depth(registry)
        self._declare_flow(registry)
        self._declare_times(registry)
        self._declare_trouble(registry)

    def _declare_depth(self, registry: CollectorRegistry) -> None:
        messages = Gauge(
            "whatsapp_queue_messages", "Kept messages by state.", ["account", "state"], registry=registry
        )
        self._messages = {state: messages.labels(self._account, state.value) for state in State}
        self._depth = dict.fromkeys(State, 0)
        self._oldest = Gauge(
            "whatsapp_queue_oldest_timestamp_seconds",
            "When the oldest message that is still queued was accepted; NaN while nothing is queued.",
            ["account"],
            registry=registry,
        ).labels(self._account)
        self._oldest.set(float("nan"))
        self._heartbeat = Gauge(
            "whatsapp_queue_dispatcher_heartbeat_timestamp_seconds",
            "When the dispatcher last showed that it is alive.",
            ["account"],
            registry=registry,
        ).labels(self._account)

    def _declare_flow(self, registry: CollectorRegistry) -> None:
        enqueued = Counter(
            "whatsapp_queue_enqueued_total",
            "Messages handed in, by what became of them.",
            ["account", "outcome"],
            registry=registry,
        )
        self._enqueued = {o: enqueued.labels(self._account, o.value) for o in EnqueueOutcome}
        attempts = Counter(
            "whatsapp_queue_attempts_total",
            "Attempts to send a message, by result and by the rule that knew the engine's words; only "
            "not_connected burns none of a message's attempts.",
            ["account", "result", "reason"],
            registry=registry,
        )
        self._attempts = {
            (result, rule.name): attempts.labels(self._account, result.value, rule.name)
            for rule in ALL_RULES
            for result in results_of(rule)
        }
        postponed = Counter(
            "whatsapp_queue_postponed_total",
            "Claimed messages put back until a later time without an attempt, by reason.",
            ["account", "reason"],
            registry=registry,
        )
        self._postponed = {r: postponed.labels(self._account, r.value) for r in PostponeReason}
        self._resends = Counter(
            "whatsapp_queue_resends_total",
            "Sent messages queued a second time because the recipient's device could not read them.",
            ["account"],
            registry=registry,
        ).labels(self._account)
        terminal = Counter(
            "whatsapp_queue_terminal_total",
            "Messages that came to a state in which they may stay; a read one was sent and delivered before.",
            ["account", "state"],
            registry=registry,
        )
        self._terminal = {state: terminal.labels(self._account, state.value) for state in RESTING}
        receipts = Counter(
            "whatsapp_queue_receipts_total",
            "Receipts by kind; one may be for many messages, or for none of ours.",
            ["account", "kind"],
            registry=registry,
        )
        self._receipts = {kind: receipts.labels(self._account, kind.value) for kind in ReceiptKind}

    def _declare_times(self, registry: CollectorRegistry) -> None:
        self._wait = Histogram(
            "whatsapp_queue_wait_seconds",
            "Time from when a message was due until it was handed to the engine, for each attempt.",
            ["account"],
            buckets=WAIT_BUCKETS,
            registry=registry,
        ).labels(self._account)
        self._send = Histogram(
            "whatsapp_queue_send_seconds",
            "Time from handing a message to the engine until its answer, sends before it included.",
            ["account"],
            buckets=SEND_BUCKETS,
            registry=registry,
        ).labels(self._account)
        self._sent = Histogram(
            "whatsapp_queue_sent_seconds",
            "Time from when a message was due (accepted, or later as its caller or the pacing wanted it) "
            "until WhatsApp had it, once for each message; after a failed attempt, from its acceptance.",
            ["account"],
            buckets=SENT_BUCKETS,
            registry=registry,
        ).labels(self._account)
        self._delivery = Histogram(
            "whatsapp_queue_delivery_seconds",
            "Time from accepting a message until the recipient's device had it.",
            ["account"],
            buckets=DELIVERY_BUCKETS,
            registry=registry,
        ).labels(self._account)
        store = Histogram(
            "whatsapp_queue_store_seconds",
            "Time of a store operation, its wait for the commit included.",
            ["account", "operation"],
            buckets=STORE_BUCKETS,
            registry=registry,
        )
        self._store = {o: store.labels(self._account, o.value) for o in StoreOperation}

    def _declare_trouble(self, registry: CollectorRegistry) -> None:
        self._claims_lost = Counter(
            "whatsapp_queue_claims_lost_total",
            "Completions that came after their claim had been given away.",
            ["account"],
            registry=registry,
        ).labels(self._account)
        rescued = Counter(
            "whatsapp_queue_rescued_total",
            "Claims whose send never answered, by what the session's store said of them.",
            ["account", "outcome"],
            registry=registry,
        )
        self._rescued = {o: rescued.labels(self._account, o.value) for o in RescueOutcome}
        resolved = Counter(
            "whatsapp_queue_unknown_resolved_total",
            "Unknown outcomes by how they were resolved.",
            ["account", "resolution"],
            registry=registry,
        )
        self._resolved = {r: resolved.labels(self._account, r.value) for r in Resolution}
        self._receipts_dropped = Counter(
            "whatsapp_queue_receipts_dropped_total",
            "Receipts lost because the store could not keep up and the buffer was full.",
            ["account"],
            registry=registry,
        ).labels(self._account)
        errors = Counter(
            "whatsapp_queue_store_errors_total",
            "Store operations that failed and changed nothing, by reason.",
            ["account", "reason"],
            registry=registry,
        )
        self._store_errors = {r: errors.labels(self._account, r.value) for r in StoreErrorReason}

    # --- told by the store ------------------------------------------------------------------------

    def depth(self, counts: Mapping[State, int], *, oldest_queued_at: float | None) -> None:
        """Messages by state, and when the oldest queued one was accepted (Unix seconds)."""
        for state, gauge in self._messages.items():
            if (depth := counts[state]) != self._depth[state]:  # a commit changes two of ten
                self._depth[state] = depth
                gauge.set(depth)
        self._oldest.set(float("nan") if oldest_queued_at is None else oldest_queued_at)

    def moved(self, moves: Moves) -> None:
        """Messages went from state to state."""
        for (before, state), messages in moves.items():
            for reached in _reached(before, state):
                self._terminal[reached].inc(messages)
        if resends := moves.get((State.SENT, State.QUEUED)):
            self._resends.inc(resends)

    def store_seconds(self, operation: StoreOperation, seconds: float) -> None:
        """A store operation ended, well or not."""
        self._store[operation].observe(seconds, exemplar())

    def store_error(self, reason: StoreErrorReason) -> None:
        """A store operation failed."""
        self._store_errors[reason].inc()

    # --- told by outbox and dispatcher ------------------------------------------------------------

    def enqueued(self, outcome: EnqueueOutcome, messages: int = 1) -> None:
        """Messages were handed in."""
        self._enqueued[outcome].inc(messages)

    def handed(self, *, waited_s: float) -> None:
        """A message was handed to the engine."""
        self._wait.observe(max(0.0, waited_s), exemplar())

    def attempted(self, result: SendResult, rule: Rule, *, took_s: float) -> None:
        """An attempt ended by this rule. The time of one that never left says nothing and is not observed."""
        self._attempts[result, rule.name].inc()
        if result is not SendResult.NOT_CONNECTED:
            self._send.observe(took_s, exemplar())

    def postponed(self, reason: PostponeReason) -> None:
        """A claimed message was put back without an attempt."""
        self._postponed[reason].inc()

    def paced_by(self, held_s: Callable[[float, float], float]) -> None:
        """From now on this says how much of the time between two Unix times the whole account was held."""
        self._held_s = held_s

    def sent(self, message: Message, *, now: float) -> None:
        """WhatsApp has the message, as it is now. A second sending, which the recipient's device asked for,
        is not observed: the first was."""
        if message.resends == 0:
            first = message.attempts <= 1
            since = max(message.due_at, message.accepted_at) if first else message.accepted_at
            self._sent.observe(max(0.0, now - since - self._held_s(since, now)), exemplar())

    def delivered(self, seconds: float) -> None:
        """A message arrived that many seconds after it was accepted."""
        self._delivery.observe(max(0.0, seconds), exemplar())

    def receipt(self, kind: ReceiptKind) -> None:
        """A receipt came."""
        self._receipts[kind].inc()

    def receipt_dropped(self) -> None:
        """A receipt was lost."""
        self._receipts_dropped.inc()

    def claim_lost(self) -> None:
        """A completion came too late."""
        self._claims_lost.inc()

    def rescued(self, outcome: RescueOutcome) -> None:
        """A claim without an answer was looked up."""
        self._rescued[outcome].inc()

    def unknown_resolved(self, resolution: Resolution) -> None:
        """An unknown outcome is unknown no more."""
        self._resolved[resolution].inc()

    def beat(self, now: float) -> None:
        """The dispatcher is alive at this time, Unix seconds."""
        self._heartbeat.set(now)

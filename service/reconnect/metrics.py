"""What the connection tells. Every label set exists from the start: rates are right from the first event."""

import time
from collections.abc import Callable, Iterator
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from service.reconnect.reason import Reason
from service.reconnect.rule import Side
from service.reconnect.status import State, Status

OUTAGE_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900, 3600, 14400, 86400)


class AttemptResult(StrEnum):
    """How a login attempt ended: connected, abandoned by us, or on which side it failed."""

    CONNECTED = "connected"
    ABANDONED = "abandoned"
    NETWORK = "network"
    WHATSAPP = "whatsapp"
    ACCOUNT = "account"
    ENGINE = "engine"


ATTEMPT_RESULTS = {
    Side.NONE: AttemptResult.ABANDONED,
    Side.OPERATOR: AttemptResult.ABANDONED,
    Side.LEASE: AttemptResult.ABANDONED,
    Side.NETWORK: AttemptResult.NETWORK,
    Side.WHATSAPP: AttemptResult.WHATSAPP,
    Side.ACCOUNT: AttemptResult.ACCOUNT,
    Side.ENGINE: AttemptResult.ENGINE,
}


class PairingMethod(StrEnum):
    """How a phone is linked."""

    QR = "qr"
    CODE = "code"


class PairingResult(StrEnum):
    """How a pairing ended."""

    PAIRED = "paired"
    EXPIRED = "expired"
    FAILED = "failed"


class ProbeResult(StrEnum):
    """What a probe found."""

    REACHED = "reached"
    FAILED = "failed"


class QuestionOutcome(StrEnum):
    """What became of a question whether the connection still hears."""

    ANSWERED = "answered"
    REFUSED = "refused"  # with an error, which was heard as well
    UNANSWERED = "unanswered"  # not within its time
    ABANDONED = "abandoned"  # the connection was lost, or pings were, before the answer


class ReconnectMetrics:
    """The connection's state, its losses and its attempts to come back."""

    def __init__(
        self, registry: CollectorRegistry, account: str, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._account = account
        self._state = Enum(
            "whatsapp_connection_state",
            "State of the connection to WhatsApp; exactly one is 1.",
            ["account"],
            states=[state.value for state in State],
            registry=registry,
        )
        self._declare_gauges(registry)
        self._declare_counters(registry)
        self.outage_seconds = Histogram(
            "whatsapp_connection_outage_seconds",
            "Time from losing a usable connection to having one again.",
            ["account"],
            buckets=OUTAGE_BUCKETS,
            registry=registry,
        ).labels(account)
        self._in_state = _TimeInState(account, monotonic)
        registry.register(self._in_state)
        self._state.labels(account).state(State.STARTING.value)

    def _declare_gauges(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, ["account"], registry=registry).labels(self._account)

        self.connected = gauge("whatsapp_connected", "1 when messages can be sent now.")
        self.changed_at = gauge(
            "whatsapp_connection_state_changed_timestamp_seconds",
            "When the connection came into its state, Unix time.",
        )
        self.backoff_seconds = gauge(
            "whatsapp_reconnect_backoff_seconds",
            "The wait chosen before the next login attempt; 0 without one.",
        )
        self.attempt = gauge(
            "whatsapp_reconnect_attempt", "Login attempts since the connection was last stable."
        )
        self.next_attempt_at = gauge(
            "whatsapp_reconnect_next_attempt_timestamp_seconds",
            "When the next login attempt is due, Unix time; 0 without one.",
        )
        self.memory_limit = gauge(
            "whatsapp_engine_memory_limit_bytes",
            "Resident memory above which the engine is replaced; 0 without a limit.",
        )
        self.last_stanza_at = gauge(
            "whatsapp_last_stanza_timestamp_seconds",
            "When something last proved that WhatsApp talks to us, Unix time; 0 before the first.",
        )

    def _declare_counters(self, registry: CollectorRegistry) -> None:
        self.transitions = Counter(
            "whatsapp_connection_transitions",
            "Changes of the connection's state, by the new state.",
            ["account", "state"],
            registry=registry,
        )
        self.disconnects = Counter(
            "whatsapp_disconnects",
            "Times a usable connection stopped being usable, by reason.",
            ["account", "reason"],
            registry=registry,
        )
        self.attempts = Counter(
            "whatsapp_connect_attempts",
            "Login attempts with a linked device, by how they ended.",
            ["account", "result"],
            registry=registry,
        )
        self.recycles = Counter(
            "whatsapp_engine_recycles",
            "Engines given up or lost, by reason.",
            ["account", "reason"],
            registry=registry,
        )
        self.probes = Counter(
            "whatsapp_reconnect_probes",
            "Questions whether WhatsApp can be reached, by answer.",
            ["account", "result"],
            registry=registry,
        )
        self.questions = Counter(
            "whatsapp_connection_questions",
            "Questions to WhatsApp whether a quiet connection still hears, by outcome.",
            ["account", "outcome"],
            registry=registry,
        )
        self.pairings = Counter(
            "whatsapp_pairings",
            "Pairings, by method and how they ended.",
            ["account", "method", "result"],
            registry=registry,
        )
        for state in State:
            self.transitions.labels(self._account, state.value)
        for reason in Reason:
            self.disconnects.labels(self._account, reason.value)
            self.recycles.labels(self._account, reason.value)
        for attempt in AttemptResult:
            self.attempts.labels(self._account, attempt.value)
        for probe in ProbeResult:
            self.probes.labels(self._account, probe.value)
        for outcome in QuestionOutcome:
            self.questions.labels(self._account, outcome.value)
        for method in PairingMethod:
            for result in PairingResult:
                self.pairings.labels(self._account, method.value, result.value)

    def moved(self, status: Status) -> None:
        """The connection came into another state."""
        self._state.labels(self._account).state(status.state.value)
        self._in_state.moved(status.state)
        self.connected.set(status.state is State.CONNECTED)
        self.changed_at.set(status.since)
        self.transitions.labels(self._account, status.state.value).inc()

    def waiting(self, status: Status) -> None:
        """The attempt number or the time of the next attempt changed."""
        self.attempt.set(status.attempt)
        self.next_attempt_at.set(status.next_attempt_at or 0.0)

    def lost(self, reason: Reason) -> None:
        """A usable connection stopped being usable."""
        self.disconnects.labels(self._account, reason.value).inc()

    def recycled(self, reason: Reason) -> None:
        """An engine was given up or died."""
        self.recycles.labels(self._account, reason.value).inc()

    def attempted(self, result: AttemptResult) -> None:
        """A login attempt ended."""
        self.attempts.labels(self._account, result.value).inc()

    def probed(self, *, reached: bool) -> None:
        """A probe was answered."""
        result = ProbeResult.REACHED if reached else ProbeResult.FAILED
        self.probes.labels(self._account, result.value).inc()

    def asked(self, outcome: QuestionOutcome) -> None:
        """A question whether the connection hears came to its end."""
        self.questions.labels(self._account, outcome.value).inc()

    def paired(self, method: PairingMethod, result: PairingResult) -> None:
        """A pairing ended."""
        self.pairings.labels(self._account, method.value, result.value).inc()


class _TimeInState(Collector):
    """Seconds spent in each state, exact at every scrape."""

    def __init__(self, account: str, monotonic: Callable[[], float]) -> None:
        self._account = account
        self._monotonic = monotonic
        self._seconds = dict.fromkeys(State, 0.0)
        self._state = State.STARTING
        self._since = monotonic()

    def moved(self, state: State) -> None:
        now = self._monotonic()
        self._seconds[self._state] += now - self._since
        self._state, self._since = state, now

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "whatsapp_connection_state_seconds",
            "Time spent in each state of the connection.",
            labels=["account", "state"],
        )
        running = self._monotonic() - self._since
        for state, seconds in self._seconds.items():
            spent = seconds + (running if state is self._state else 0.0)
            family.add_metric([self._account, state.value], spent)
        yield family

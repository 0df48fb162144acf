"""Spans of a login: `connect` from the engine's start to connected, and around it `reconnect attempt`."""

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context

from service.reconnect.reason import Reason
from service.reconnect.rule import Rule, Side
from service.telemetry.exemplar import exemplar


class LoginTrace:
    """At most one login is traced at a time.

    `reconnect attempt` covers the wait too, as far as it is a backoff; a wait of hours is not a span.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._retry: Span | None = None
        self._connect: Span | None = None
        self._arrived: dict[str, str] | None = None

    def waiting(self, reason: Reason, *, attempt: int, wait_s: float) -> None:
        """A retry begins with its wait."""
        attributes = {"whatsapp.reason": reason.value, "whatsapp.attempt": attempt, "whatsapp.wait_s": wait_s}
        self._retry = self._tracer.start_span("reconnect attempt", attributes=attributes)

    def started(self, *, attempt: int) -> None:
        """An engine is started."""
        context = None if self._retry is None else set_span_in_context(self._retry)
        self._connect = self._tracer.start_span(
            "connect",
            context=context,
            kind=SpanKind.CLIENT,
            attributes={"whatsapp.attempt": attempt, "server.address": "web.whatsapp.com"},
        )

    def step(self, name: str) -> None:
        """Something was reached on the way."""
        if self._connect is not None:
            self._connect.add_event(name)

    def ended(self, rule: Rule) -> None:
        """The login succeeded, failed, or was given up; nothing when none is under way."""
        for span in (self._connect, self._retry):
            if span is not None:
                span.set_attribute("whatsapp.outcome", rule.reason.value)
                if rule.side not in {Side.NONE, Side.OPERATOR, Side.LEASE}:
                    span.set_attribute("error.type", rule.reason.value)
                    span.set_status(Status(StatusCode.ERROR, rule.sentence))
                span.end()
        if self._connect is not None:
            self._arrived = exemplar(self._connect)
        self._connect = self._retry = None

    def arrived(self) -> dict[str, str] | None:
        """What points to the login that ended last; once."""
        arrived, self._arrived = self._arrived, None
        return arrived

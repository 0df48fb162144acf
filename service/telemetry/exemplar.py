"""Exemplars: what an observation in a histogram points to. OpenMetrics' names, `trace_id` and `span_id`.

A trace that was not sampled is kept nowhere, so nothing points to it.
"""

from opentelemetry.trace import NonRecordingSpan, Span

from service.telemetry.current import current_span
from service.telemetry.ids import Ids
from service.telemetry.traceparent import context_of


def exemplar(span: Span | None = None) -> dict[str, str] | None:
    """Points to that span, or else to the current one."""
    return Ids.of((current_span() if span is None else span).get_span_context()).exemplar


def exemplar_of(traceparent: str | None) -> dict[str, str] | None:
    """Points to the span that a W3C traceparent names."""
    return context_of(traceparent).exemplar


def span_of(traceparent: str | None) -> Span:
    """The span that a W3C traceparent names, for log lines and exemplars; an invalid one for None."""
    return NonRecordingSpan(context_of(traceparent))

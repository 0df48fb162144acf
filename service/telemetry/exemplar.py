"""Exemplars: what an observation in a histogram points to. OpenMetrics' names, `trace_id` and `span_id`.

A trace that was not sampled is kept nowhere, so nothing points to it.
"""

from typing import Final

from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags

from service.telemetry.current import current_span
from service.telemetry.ids import Ids
from service.telemetry.traceparent import context_of

_SAMPLED: Final = frozenset("13579bdf")
"""How the flags of a traceparent end when its trace is recorded (W3C Trace Context, "sampled flag")."""


def exemplar(span: Span | None = None) -> dict[str, str] | None:
    """Points to that span, or else to the current one."""
    return _pointing_to((current_span() if span is None else span).get_span_context())


def exemplar_of(traceparent: str | None) -> dict[str, str] | None:
    """Points to the span that a W3C traceparent names."""
    if traceparent is None or traceparent[-1:] not in _SAMPLED:
        return None
    return _pointing_to(context_of(traceparent))


def span_of(traceparent: str | None) -> Span:
    """The span that a W3C traceparent names, for log lines and exemplars; an invalid one for None."""
    return NonRecordingSpan(context_of(traceparent))


def _pointing_to(context: SpanContext) -> dict[str, str] | None:
    if context.trace_flags & TraceFlags.SAMPLED and context.is_valid:
        return Ids.of(context).exemplar
    return None

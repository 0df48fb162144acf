"""Exemplars: what an observation in a histogram points to. OpenMetrics' names, `trace_id` and `span_id`.

A trace that was not sampled is kept nowhere, so nothing points to it.
"""

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, format_span_id, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()


def exemplar(span: Span | None = None) -> dict[str, str] | None:
    """Points to that span, or else to the current one."""
    context = (trace.get_current_span() if span is None else span).get_span_context()
    if not (context.is_valid and context.trace_flags.sampled):
        return None
    return {"trace_id": format_trace_id(context.trace_id), "span_id": format_span_id(context.span_id)}


def exemplar_of(traceparent: str | None) -> dict[str, str] | None:
    """Points to the span that a W3C traceparent names."""
    return exemplar(span_of(traceparent))


def span_of(traceparent: str | None) -> Span:
    """The span that a W3C traceparent names, for log lines and exemplars; an invalid one for None."""
    if traceparent is None:
        return trace.INVALID_SPAN
    return trace.get_current_span(_PROPAGATOR.extract({"traceparent": traceparent}, Context()))

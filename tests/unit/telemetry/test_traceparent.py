"""What a message carries of the span in which it was accepted."""

import pytest
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, TraceFlags
from opentelemetry.trace.propagation import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.telemetry.traceparent import context_of, traceparent_of, unsampled

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

READABLE = [f"00-{TRACE}-{SPAN}-{flags}" for flags in ("00", "01", "02", "03", "ff")]
NONE = {
    "nothing": "",
    "nonsense": "nonsense",
    "cut off": f"00-{TRACE}-{SPAN}",
    "more after it": f"00-{TRACE}-{SPAN}-01-00",
    "no trace": f"00-{'0' * 32}-{SPAN}-01",
    "no span": f"00-{TRACE}-{'0' * 16}-01",
    "capitals": f"00-{TRACE.upper()}-{SPAN}-01",
    "a version that cannot be": f"ff-{TRACE}-{SPAN}-01",
}


def read_by_opentelemetry(traceparent: str) -> SpanContext:
    """What OpenTelemetry's own propagator reads."""
    context = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    return get_current_span(context).get_span_context()


@pytest.mark.parametrize("traceparent", READABLE)
def test_a_traceparent_is_read_as_opentelemetry_reads_it(traceparent: str) -> None:
    assert context_of(traceparent) == read_by_opentelemetry(traceparent)
    assert context_of(traceparent).is_remote


@pytest.mark.parametrize("traceparent", NONE.values(), ids=NONE)
def test_what_names_no_span_is_not_valid(traceparent: str) -> None:
    assert not context_of(traceparent).is_valid
    assert not read_by_opentelemetry(traceparent).is_valid


def test_nothing_carried_is_not_valid() -> None:
    assert not context_of(None).is_valid


@pytest.mark.parametrize("flags", [0, 1, 3])
def test_what_is_written_is_read_again(flags: int) -> None:
    context = SpanContext(int(TRACE, 16), int(SPAN, 16), is_remote=False, trace_flags=TraceFlags(flags))

    traceparent = traceparent_of(context)

    assert traceparent == f"00-{TRACE}-{SPAN}-{flags:02x}"
    read = context_of(traceparent)
    assert (read.trace_id, read.span_id, read.trace_flags) == (context.trace_id, context.span_id, flags)


@pytest.mark.parametrize(("flags", "left"), [(0, "00"), (1, "00"), (3, "02")])
def test_what_is_carried_without_the_mark_names_the_same_span(flags: int, left: str) -> None:
    context = SpanContext(int(TRACE, 16), int(SPAN, 16), is_remote=False, trace_flags=TraceFlags(flags))

    assert unsampled(context) == f"00-{TRACE}-{SPAN}-{left}"


def test_a_span_that_is_none_is_not_carried() -> None:
    assert traceparent_of(INVALID_SPAN_CONTEXT) is None
    assert unsampled(INVALID_SPAN_CONTEXT) is None

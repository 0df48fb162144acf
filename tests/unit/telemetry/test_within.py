"""Spans around work, and what points to them."""

import asyncio

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Span, StatusCode

from service.telemetry.current import current_span
from service.telemetry.exemplar import exemplar, exemplar_of, span_of
from service.telemetry.within import within


def test_an_error_is_told_by_its_class_and_never_in_its_words() -> None:
    taken = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(taken))
    with pytest.raises(ValueError, match="what Ann wrote"), within(provider.get_tracer("t").start_span("s")):
        raise ValueError("what Ann wrote")
    (span,) = taken.get_finished_spans()
    assert (span.attributes or {})["error.type"] == "ValueError"
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert "Ann" not in span.to_json()


def ids(span: Span) -> dict[str, str]:
    context = span.get_span_context()
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def test_an_exemplar_points_to_a_span_that_somebody_has() -> None:
    recorded = TracerProvider().get_tracer("t").start_span("s")
    dropped = TracerProvider(sampler=ALWAYS_OFF).get_tracer("t").start_span("s")
    assert exemplar() is None, "outside of spans"
    assert exemplar(dropped) is None
    assert exemplar(recorded) == ids(recorded)
    with within(recorded):
        assert exemplar() == ids(recorded)


@pytest.mark.parametrize("flags", ["00", "01"])
def test_a_traceparent_from_afar_is_pointed_to_if_it_was_sampled(flags: str) -> None:
    ids = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"}
    traceparent = f"00-{ids['trace_id']}-{ids['span_id']}-{flags}"
    assert exemplar_of(traceparent) == (ids if flags == "01" else None)
    with trace.use_span(span_of(None)):
        assert exemplar() is None
    assert exemplar_of("nonsense") is None


def test_the_current_span_is_the_one_that_opentelemetry_knows() -> None:
    outer, inner = (TracerProvider().get_tracer("t").start_span(name) for name in ("outer", "inner"))
    assert current_span() is trace.get_current_span() is trace.INVALID_SPAN
    with within(outer):
        assert current_span() is trace.get_current_span() is outer
        with trace.use_span(inner):
            assert current_span() is trace.get_current_span() is inner
        assert current_span(trace.set_span_in_context(inner)) is inner
        assert current_span() is outer
    assert current_span() is trace.INVALID_SPAN


async def test_a_task_that_is_cancelled_has_not_failed() -> None:
    taken = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(taken))

    with pytest.raises(asyncio.CancelledError), within(provider.get_tracer("t").start_span("s")):
        raise asyncio.CancelledError

    (span,) = taken.get_finished_spans()
    assert span.status.status_code is StatusCode.UNSET

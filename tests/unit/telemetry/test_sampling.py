"""Which traces are recorded."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, Tracer

from service.telemetry import tracing
from service.telemetry.sampling import ALWAYS
from service.telemetry.traceparent import context_of, traceparent_of, unsampled


def recorder(monkeypatch: pytest.MonkeyPatch, sampler: str, ratio: str = "") -> Tracer:
    """A tracer as the service has it, with what OTEL_TRACES_SAMPLER says."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", ratio)
    takes = SimpleSpanProcessor(InMemorySpanExporter())
    return tracing.build_provider(tracing.resource_of("default"), takes).get_tracer("test")


@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
def test_of_messages_as_many_are_recorded_as_the_operator_wants(
    monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    assert not recorder(monkeypatch, sampler, "0").start_span("publish outbox").is_recording()
    assert recorder(monkeypatch, sampler, "1").start_span("publish outbox").is_recording()


@pytest.mark.parametrize("ratio", ["0", "1"])
def test_a_message_is_recorded_all_the_way_or_not_at_all(monkeypatch: pytest.MonkeyPatch, ratio: str) -> None:
    recorded = TracerProvider().get_tracer("another").start_span("publish outbox")
    dropped = recorder(monkeypatch, "always_off").start_span("publish outbox")
    tracer = recorder(monkeypatch, "parentbased_traceidratio", ratio)

    followed = tracer.start_span("process outbox", links=[Link(recorded.get_span_context())])
    assert followed.is_recording()
    assert tracer.start_span("send direct", trace.set_span_in_context(followed)).is_recording()
    assert not tracer.start_span("process outbox", links=[Link(dropped.get_span_context())]).is_recording()


@pytest.mark.parametrize("name", sorted(ALWAYS))
def test_what_happens_to_the_connection_is_always_recorded(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert recorder(monkeypatch, "traceidratio", "0").start_span(name).is_recording()
    assert recorder(monkeypatch, "parentbased_traceidratio", "0").start_span(name).is_recording()


@pytest.mark.parametrize("sampler", ["always_off", "parentbased_always_off"])
def test_unless_the_operator_wants_nothing_recorded(monkeypatch: pytest.MonkeyPatch, sampler: str) -> None:
    tracer = recorder(monkeypatch, sampler)
    for name in (*ALWAYS, "publish outbox"):
        assert not tracer.start_span(name).is_recording()


@pytest.mark.parametrize(
    "sampler", ["parentbased_always_on", "always_on", "traceidratio", "parentbased_traceidratio"]
)
def test_a_message_beyond_the_bound_is_not_recorded_on_its_way(
    monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    tracer = recorder(monkeypatch, sampler, "1")
    accepted = tracer.start_span("publish outbox").get_span_context()

    within, beyond = (context_of(carry(accepted)) for carry in (traceparent_of, unsampled))
    assert tracer.start_span("process outbox", links=[Link(within)]).is_recording()
    process = tracer.start_span("process outbox", links=[Link(beyond)])
    assert not process.is_recording()
    assert not tracer.start_span("settle outbox", links=[Link(beyond)]).is_recording()
    assert not tracer.start_span("send direct", trace.set_span_in_context(process)).is_recording()

"""Spans are recorded when somebody takes them."""

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.telemetry import tracing


@pytest.fixture(autouse=True)
def no_otel(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "HEROKU_APP_NAME"):
        monkeypatch.delenv(name, raising=False)


def test_when_nobody_takes_them_nothing_is_recorded_and_spans_still_have_ids() -> None:
    provider = tracing.build_provider(tracing.resource_of("default"), None)
    span = provider.get_tracer("test").start_span("send direct")
    assert span.get_span_context().is_valid
    assert not span.is_recording()


def test_who_takes_spans_gets_them_with_the_resource() -> None:
    taken = InMemorySpanExporter()
    provider = tracing.build_provider(tracing.resource_of("default"), SimpleSpanProcessor(taken))
    with provider.get_tracer("test").start_as_current_span("send direct"):
        pass
    (span,) = taken.get_finished_spans()
    assert span.resource.attributes["whatsapp.account"] == "default"


def test_the_operators_names_win_over_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracing.resource_of("default").attributes["service.name"] == "beacon"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "alerts")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=one")
    attributes = tracing.resource_of("default").attributes
    assert attributes["service.name"] == "alerts"
    assert attributes["service.instance.id"] == "one"

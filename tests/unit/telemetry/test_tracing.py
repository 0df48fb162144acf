"""Traces leave the process only when somebody said where to."""

import pytest

from service.telemetry import tracing


@pytest.fixture(autouse=True)
def no_otel(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*tracing.ENDPOINTS, "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "HEROKU_APP_NAME"):
        monkeypatch.delenv(name, raising=False)


def test_without_an_endpoint_nothing_is_exported_and_spans_still_have_ids() -> None:
    provider = tracing.build_provider("default")
    assert provider._active_span_processor._span_processors == ()
    span = provider.get_tracer("test").start_span("send direct")
    assert span.get_span_context().is_valid
    assert not span.is_recording()
    tracing.flush(provider, timeout_s=1)


def test_with_an_endpoint_spans_are_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    provider = tracing.build_provider("default")
    assert len(provider._active_span_processor._span_processors) == 1
    tracing.flush(provider, timeout_s=1)


def test_the_operators_names_win_over_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracing.build_provider("default").resource.attributes["service.name"] == "beacon"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "alerts")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=one")
    attributes = tracing.build_provider("default").resource.attributes
    assert attributes["service.name"] == "alerts"
    assert attributes["service.instance.id"] == "one"

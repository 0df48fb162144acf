"""Spans as a receiver reads them, beside what the SDK's own encoder says of them."""

import time
from collections.abc import Callable

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from service.telemetry.push.encoding import encoded
from service.telemetry.recording import Provider

FAR = SpanContext(0xA1, 0xB2, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("v", "1")]))
NEAR = SpanContext(0xC3, 0xD4, is_remote=False, trace_flags=TraceFlags(1))


def plain(tracer: Tracer) -> None:
    tracer.start_span("backup").end()


def with_attributes(tracer: Tracer) -> None:
    values: dict[str, AttributeValue] = {
        "text": "a",
        "whole": 1,
        "real": 1.0,
        "true": True,
        "empty": "",
        "list": ("a", "b"),
        "naught": 0,
    }
    tracer.start_span("backup", attributes=values).end()


def of_each_kind(tracer: Tracer) -> None:
    for kind in SpanKind:
        tracer.start_span("send direct", kind=kind).end()


def under_another(tracer: Tracer) -> None:
    with tracer.start_as_current_span("process outbox"):
        tracer.start_span("send direct").end()


def under_one_far_away(tracer: Tracer) -> None:
    tracer.start_span("POST", context=set_span_in_context(NonRecordingSpan(FAR))).end()


def linked(tracer: Tracer) -> None:
    links = [Link(FAR, {"messaging.message.id": "1"}), Link(NEAR)]
    tracer.start_span("settle outbox", links=links).end()


def failed(tracer: Tracer) -> None:
    span = tracer.start_span("restore")
    span.set_status(Status(StatusCode.ERROR, "no backup"))
    span.end()


def well(tracer: Tracer) -> None:
    span = tracer.start_span("restore")
    span.set_status(StatusCode.OK)
    span.end()


def with_events(tracer: Tracer) -> None:
    span = tracer.start_span("connect")
    span.add_event("qr", {"turn": 1}, timestamp=time.time_ns())
    span.add_event("paired")
    span.end()


def over_the_limits(tracer: Tracer) -> None:
    span = tracer.start_span(
        "connect", attributes=dict.fromkeys("abcd", 1), links=[Link(FAR, dict.fromkeys("abcd", 1))] * 4
    )
    for _ in range(4):
        span.add_event("qr", dict.fromkeys("abcd", 1))
    span.end()


CASES = (
    plain,
    with_attributes,
    of_each_kind,
    under_another,
    under_one_far_away,
    linked,
    failed,
    well,
    with_events,
    over_the_limits,
)


def ended(*scenes: Callable[[Tracer], None], by: type[TracerProvider] = Provider) -> tuple[ReadableSpan, ...]:
    """The spans of these scenes, each with a tracer of its own."""
    exporter = InMemorySpanExporter()
    three = SpanLimits(max_attributes=3, max_events=3, max_links=3) if over_the_limits in scenes else None
    resource = Resource({"service.name": "beacon", "numbers": [1, 2]}, schema_url="https://schema/1")
    provider = by(resource=resource, span_limits=three, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for scene in scenes:
        scene(provider.get_tracer(scene.__name__, "1.0", "https://schema/2", {"on": True}))
    return exporter.get_finished_spans()


@pytest.mark.parametrize("provider", [Provider, TracerProvider])
@pytest.mark.parametrize("scene", CASES)
def test_a_span_is_told_as_the_sdk_tells_it(
    scene: Callable[[Tracer], None], provider: type[TracerProvider]
) -> None:
    spans = ended(scene, by=provider)

    assert ExportTraceServiceRequest.FromString(encoded(spans)) == encode_spans(spans)


def test_spans_of_several_scopes_are_told_under_their_own() -> None:
    spans = ended(plain, linked, plain, of_each_kind)

    ours = ExportTraceServiceRequest.FromString(encoded(spans))

    scopes = [scope for resource in ours.resource_spans for scope in resource.scope_spans]
    assert {scope.scope.name: [span.name for span in scope.spans] for scope in scopes} == {
        "plain": ["backup", "backup"],
        "linked": ["settle outbox"],
        "of_each_kind": ["send direct"] * len(SpanKind),
    }


def test_what_is_equal_in_python_is_told_apart() -> None:
    def scene(tracer: Tracer) -> None:
        for value in (True, 1, 1.0):
            tracer.start_span("backup", attributes={"value": value}).end()

    spans = ended(scene)

    assert ExportTraceServiceRequest.FromString(encoded(spans)) == encode_spans(spans)


@pytest.mark.parametrize("size", [1, 100, 127, 128, 16_300, 16_384, 2_097_152])
def test_a_span_of_any_size_is_told_as_the_sdk_tells_it(size: int) -> None:
    def scene(tracer: Tracer) -> None:
        for _ in range(2):
            tracer.start_span(
                "backup", attributes={"text": "x" * size}, links=[Link(FAR, {"y": "z" * size})]
            ).end()

    spans = ended(scene)

    assert ExportTraceServiceRequest.FromString(encoded(spans)) == encode_spans(spans)


def test_no_spans_make_an_empty_request() -> None:
    assert encoded(()) == b""

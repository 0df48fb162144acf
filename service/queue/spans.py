"""The queue's spans: names, attributes and links after OpenTelemetry's messaging conventions.

A message's way is not one trace: handing in, sending and each receipt are traces of their own, linked
to the context in which the message was created (its traceparent).
"""

from collections.abc import Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from service.queue.address import is_group
from service.queue.model import Message

OUTBOX: Final = "outbox"
_PROPAGATOR: Final = TraceContextTextMapPropagator()


def publish(tracer: Tracer, *, messages: int) -> Span:
    """`publish outbox`: messages are handed in."""
    attributes = _messaging("publish", "create") | _OUTBOX
    if messages != 1:
        attributes["messaging.batch.message_count"] = messages
    return tracer.start_span("publish outbox", kind=SpanKind.PRODUCER, attributes=attributes)


def process(tracer: Tracer, message: Message) -> Span:
    """`process outbox`: a claimed message is sent and its outcome kept."""
    attributes = _messaging("process", "process") | _OUTBOX | {"messaging.message.id": message.id}
    return tracer.start_span(
        "process outbox", kind=SpanKind.CONSUMER, attributes=attributes, links=_links(message)
    )


def send(tracer: Tracer, message: Message) -> Span:
    """`send direct` or `send group`: the engine has the message."""
    destination = "group" if is_group(message.chat) else "direct"
    attributes = _messaging("send", "send") | {
        "messaging.destination.template": destination,
        "messaging.message.id": message.id,
    }
    return tracer.start_span(f"send {destination}", kind=SpanKind.CLIENT, attributes=attributes)


def settle(tracer: Tracer, *, receipt: str, messages: Sequence[Message], start_ns: int) -> Span:
    """`settle outbox`: a receipt came, at that time, that says something new of these messages."""
    attributes = _messaging("settle", "settle") | _OUTBOX | {"whatsapp.receipt": receipt}
    if len(messages) == 1:
        attributes["messaging.message.id"] = messages[0].id
    else:
        attributes["messaging.batch.message_count"] = len(messages)
    return tracer.start_span(
        "settle outbox",
        kind=SpanKind.CLIENT,
        attributes=attributes,
        links=[link for message in messages for link in _links(message)],
        start_time=start_ns,
    )


def traceparent(span: Span) -> str | None:
    """The span's context for the message to carry; None when it is not recorded anywhere."""
    if not span.get_span_context().is_valid:
        return None
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, trace.set_span_in_context(span))
    return carrier.get("traceparent")


def _links(message: Message) -> list[Link]:
    context = _context(message.traceparent)
    return [Link(context, {"messaging.message.id": message.id})] if context.is_valid else []


def _context(value: str | None) -> SpanContext:
    if value is None:
        return trace.INVALID_SPAN_CONTEXT
    extracted = _PROPAGATOR.extract({"traceparent": value})
    return trace.get_current_span(extracted).get_span_context()


def _messaging(name: str, kind: str) -> dict[str, AttributeValue]:
    return {
        "messaging.system": "whatsapp",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
    }


_OUTBOX: Final[dict[str, AttributeValue]] = {"messaging.destination.name": OUTBOX}

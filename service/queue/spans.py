"""The queue's spans: names, attributes and links after OpenTelemetry's messaging conventions.

A message's way is not one trace: handing in, sending and each receipt are traces of their own, linked
to the context in which the message was created (its traceparent).
"""

from collections.abc import Sequence
from typing import Final

from opentelemetry.trace import Link, Span, SpanKind, Tracer
from opentelemetry.util.types import AttributeValue

from service.queue.address import is_group
from service.queue.model import Message
from service.telemetry.traceparent import context_of, traceparent_of

OUTBOX: Final = "outbox"


def _messaging(name: str, kind: str) -> dict[str, AttributeValue]:
    return {
        "messaging.system": "whatsapp",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
    }


_OUTBOX: Final[dict[str, AttributeValue]] = {"messaging.destination.name": OUTBOX}
_PUBLISH: Final = _messaging("publish", "create") | _OUTBOX
_PROCESS: Final = _messaging("process", "process") | _OUTBOX
_SETTLE: Final = _messaging("settle", "settle") | _OUTBOX
_SEND: Final = {
    destination: _messaging("send", "send") | {"messaging.destination.template": destination}
    for destination in ("direct", "group")
}


def publish(tracer: Tracer, *, messages: int) -> Span:
    """`publish outbox`: messages are handed in."""
    attributes = dict(_PUBLISH)
    if messages != 1:
        attributes["messaging.batch.message_count"] = messages
    return tracer.start_span("publish outbox", kind=SpanKind.PRODUCER, attributes=attributes)


def process(tracer: Tracer, message: Message) -> Span:
    """`process outbox`: a claimed message is sent and its outcome kept."""
    attributes = _PROCESS | {"messaging.message.id": message.id}
    return tracer.start_span(
        "process outbox", kind=SpanKind.CONSUMER, attributes=attributes, links=_links(message)
    )


def send(tracer: Tracer, message: Message) -> Span:
    """`send direct` or `send group`: the engine has the message."""
    destination = "group" if is_group(message.chat) else "direct"
    attributes = _SEND[destination] | {"messaging.message.id": message.id}
    return tracer.start_span(f"send {destination}", kind=SpanKind.CLIENT, attributes=attributes)


def settle(tracer: Tracer, *, receipt: str, messages: Sequence[Message], start_ns: int) -> Span:
    """`settle outbox`: a receipt came, at that time, that says something new of these messages."""
    attributes = _SETTLE | {"whatsapp.receipt": receipt}
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
    return traceparent_of(span.get_span_context())


def _links(message: Message) -> list[Link]:
    context = context_of(message.traceparent)
    return [Link(context, {"messaging.message.id": message.id})] if context.is_valid else []

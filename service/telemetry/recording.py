"""Spans as the SDK's tracer would record them, at a third of its price.

Two or three spans are made for each message, and the SDK's cost as much as handing it to the engine: each
attribute is checked, counted against a limit and put down under a lock. Ours are a closed set that our own
code writes in one event loop. Who decides what is recorded, the ids, the processors and the resource are the
SDK's. Its limits (OTEL_SPAN_*_LIMIT) have nothing to limit here and are not looked at.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
)
from opentelemetry.util.types import Attributes, AttributeValue

from service.telemetry.current import current_span
from service.telemetry.ids import Ids
from service.telemetry.sampling import decided

_RANDOM: Final = TraceFlags.RANDOM_TRACE_ID


_UNSET: Final = Status(StatusCode.UNSET)


class Recorded(sdk.ReadableSpan, Span):
    """A span under way; once it has ended, what is exported of it, and nothing changes it any more."""

    _context: SpanContext
    _attributes: dict[str, AttributeValue]
    _events: Sequence[sdk.Event] = ()
    _end_time: int | None = None
    _status = _UNSET
    _instrumentation_info = None

    def __init__(
        self,
        name: str,
        *,
        kind: SpanKind,
        context: SpanContext,
        parent: SpanContext | None,
        attributes: Attributes,
        links: Sequence[Link],
        start_ns: int,
        origin: tuple[Resource, InstrumentationScope],
        processor: sdk.SpanProcessor,
    ) -> None:
        # what ReadableSpan's own would do, without what is the same for every span that begins
        self._name = name
        self._kind = kind
        self._context = context
        self._parent = parent
        self._attributes = dict(attributes) if attributes else {}
        self._links = links
        self._start_time = start_ns
        self._resource, self._instrumentation_scope = origin
        self._processor = processor

    def get_span_context(self) -> SpanContext:
        return self._context

    @property
    def dropped_attributes(self) -> int:
        """None ever are, as of events and links; the SDK's own look at how they are kept."""
        return 0

    dropped_events = dropped_links = dropped_attributes

    def end(self, end_time: int | None = None) -> None:
        if self._end_time is None:
            self._end_time = time.time_ns() if end_time is None else end_time
            self._processor.on_end(self)

    def is_recording(self) -> bool:
        return self._end_time is None

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        if self._end_time is None:
            self._attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        if self.is_recording():
            self._attributes.update(attributes)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        if self.is_recording():
            self._events = [*self._events, sdk.Event(name, attributes or {}, timestamp)]

    def update_name(self, name: str) -> None:
        if self.is_recording():
            self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """OK is final and UNSET says nothing (OpenTelemetry specification, "Set Status")."""
        told = status if isinstance(status, Status) else Status(status, description)
        final = self._status.status_code is StatusCode.OK
        if self.is_recording() and not final and told.status_code is not StatusCode.UNSET:
            self._status = told

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,  # noqa: ARG002
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: ARG002
    ) -> None:
        """Its class alone: its words may quote what somebody wrote."""
        self.add_event("exception", {"exception.type": type(exception).__qualname__}, timestamp)


class Recorder(sdk.Tracer):
    """The SDK's tracer but for how a span is made."""

    def start_span(  # noqa: PLR0917 - the API calls it so
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: ARG002 - use_span has its own
        set_status_on_exception: bool = True,  # noqa: ARG002
    ) -> Span:
        above = current_span(context).get_span_context()
        parent = above if above.is_valid else None
        ids = self.id_generator
        if parent is None:
            trace_id = ids.generate_trace_id()
            flags = _RANDOM if ids.is_trace_id_random() else 0
            state = None
        else:
            trace_id, flags, state = parent.trace_id, parent.trace_flags & _RANDOM, parent.trace_state
        record = decided(self.sampler, above, name, links or ())
        if record is None:
            sampling = self.sampler.should_sample(context, trace_id, name, kind, attributes, links or ())
            attributes, state = sampling.attributes, sampling.trace_state
            record = sampling.decision is not Decision.DROP
            sampled = sampling.decision is Decision.RECORD_AND_SAMPLE
        else:
            sampled = record
        own = Ids.made(trace_id, ids.generate_span_id(), flags | sampled, state)
        if not record:
            return NonRecordingSpan(own)
        return Recorded(
            name,
            kind=kind,
            context=own,
            parent=parent,
            attributes=attributes,
            links=links or (),
            start_ns=time.time_ns() if start_time is None else start_time,
            origin=(self.resource, self._instrumentation_scope),
            processor=self.span_processor,
        )


class Provider(sdk.TracerProvider):
    """The SDK's provider, of recorders."""

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> Tracer:
        whole = super().get_tracer(
            instrumenting_module_name, instrumenting_library_version, schema_url, attributes
        )
        if not isinstance(whole, sdk.Tracer):
            return whole  # OTEL_SDK_DISABLED
        return Recorder(
            whole.sampler,
            whole.resource,
            whole.span_processor,
            whole.id_generator,
            whole.instrumentation_info,
            whole._span_limits,
            whole._instrumentation_scope,
        )

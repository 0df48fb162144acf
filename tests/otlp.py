"""An OTLP/HTTP receiver of a test's own, with OpenTelemetry's own protobufs, that can be made to fail."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from aiohttp import web
from google.protobuf.message import Message
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.ports import free_port

DEADLINE_S: Final = 60.0
MAX_BODY: Final = 32 << 20
PROTOBUF: Final = "application/x-protobuf"

Value = str | bool | int | float | list["Value"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came, answered with this status."""

    path: str
    headers: Mapping[str, str]
    size_bytes: int
    status: int


@dataclass(frozen=True, slots=True)
class Link:
    """A link to another span."""

    trace_id: str
    span_id: str
    attributes: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Span:
    """A received span; ids are lower-case hex, times Unix seconds."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str | None
    attributes: Mapping[str, Value]
    links: Sequence[Link]
    events: Sequence[str]
    start: float
    end: float
    error: bool
    resource: Mapping[str, Value]


@dataclass
class Behaviour:
    """How requests are answered. `rejected` items are told as partial success."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    rejected: int = 0


class OtlpReceiver:
    """Takes `/v1/traces` and `/v1/metrics`, gzipped or not. Use as an async context manager.

    `traces` and `metrics` hold what was answered with 200, in order; `requests` all. `behaviour` may be
    changed at any time; `down` closes the port and every connection, `up` opens the same port again.
    """

    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.requests: list[Request] = []
        self._port = free_port()
        self._runner: web.AppRunner | None = None
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.down()

    @property
    def url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self._port}"

    async def up(self) -> None:
        """Listen, on the same port as before."""
        application = web.Application(client_max_size=MAX_BODY)
        application.router.add_post("/v1/traces", self._take_traces)
        application.router.add_post("/v1/metrics", self._take_metrics)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)  # 0 is for ever
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()

    async def down(self) -> None:
        """Refuse connections, and cut those that are open."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def spans(self) -> list[Span]:
        """Every span received."""
        return [span for request in self.traces for span in _spans(request)]

    def named(self, name: str) -> list[Span]:
        """Every span of that name."""
        return [span for span in self.spans if span.name == name]

    async def until(
        self, condition: Callable[["OtlpReceiver"], bool], *, deadline_s: float = DEADLINE_S
    ) -> None:
        """Wait until something was received that makes the condition true."""
        try:
            async with asyncio.timeout(deadline_s):
                while not condition(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            paths = [(request.path, request.status) for request in self.requests[-20:]]
            names = sorted({span.name for span in self.spans})
            raise AssertionError(f"not within {deadline_s:.0f} s: {names}, requests {paths}") from error

    async def _take_traces(self, request: web.Request) -> web.Response:
        asked, answer = ExportTraceServiceRequest(), ExportTraceServiceResponse()
        status = await self._take(request, asked)
        if status == 200:
            self.traces.append(asked)
        if self.behaviour.rejected:
            answer.partial_success.rejected_spans = self.behaviour.rejected
            answer.partial_success.error_message = "told to"
        return self._answer(status, answer)

    async def _take_metrics(self, request: web.Request) -> web.Response:
        asked, answer = ExportMetricsServiceRequest(), ExportMetricsServiceResponse()
        status = await self._take(request, asked)
        if status == 200:
            self.metrics.append(asked)
        if self.behaviour.rejected:
            answer.partial_success.rejected_data_points = self.behaviour.rejected
            answer.partial_success.error_message = "told to"
        return self._answer(status, answer)

    async def _take(self, request: web.Request, into: Message) -> int:
        behaviour = self.behaviour
        body = await request.read()
        assert request.content_type == PROTOBUF, request.content_type
        # aiohttp has undone a Content-Encoding already; what still looks compressed was so twice
        assert not body.startswith(b"\x1f\x8b"), "compressed without saying so"
        into.ParseFromString(body)
        if behaviour.delay_s:
            await asyncio.sleep(behaviour.delay_s)
        size = int(request.headers.get("Content-Length", len(body)))
        self.requests.append(Request(request.path, dict(request.headers), size, behaviour.status))
        return behaviour.status

    def _answer(self, status: int, message: Message) -> web.Response:
        self._changed.set()
        body = message.SerializeToString() if status == 200 else b""
        return web.Response(
            status=status, body=body, content_type=PROTOBUF, headers=dict(self.behaviour.headers)
        )


def attributes(pairs: Sequence[KeyValue]) -> dict[str, Value]:
    """OTLP's attributes as a dict."""
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Value:
    kind = value.WhichOneof("value")
    match kind:
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "array_value":
            return [_value(one) for one in value.array_value.values]
    raise AssertionError(f"an attribute of kind {kind}")


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for of_resource in request.resource_spans:
        resource = attributes(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield Span(
                    name=span.name,
                    kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex() or None,
                    attributes=attributes(span.attributes),
                    links=[
                        Link(link.trace_id.hex(), link.span_id.hex(), attributes(link.attributes))
                        for link in span.links
                    ],
                    events=[event.name for event in span.events],
                    start=span.start_time_unix_nano / 1e9,
                    end=span.end_time_unix_nano / 1e9,
                    error=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
                    resource=resource,
                )

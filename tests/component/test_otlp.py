"""What the tests' OTLP receiver is relied on for, seen with OpenTelemetry's own exporter."""

import asyncio

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, SpanKind

from tests.otlp import OtlpReceiver


async def test_spans_arrive_as_they_were_made() -> None:
    async with OtlpReceiver() as receiver:
        exporter = OTLPSpanExporter(f"{receiver.url}/v1/traces", compression=Compression.Gzip, timeout=5)
        provider = TracerProvider(resource=Resource({"service.name": "s"}), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        tracer = provider.get_tracer("test")

        def work() -> None:
            with tracer.start_as_current_span("first", kind=SpanKind.PRODUCER) as first:
                first.set_attribute("count", 3)
            link = Link(first.get_span_context(), {"of": "first"})
            with tracer.start_as_current_span("second", links=[link]) as second:
                second.add_event("step")
                with tracer.start_as_current_span("within"):
                    pass
            provider.shutdown()

        await asyncio.to_thread(work)
        await receiver.until(lambda r: len(r.spans) == 3)
        (first,), (second,), (within,) = (receiver.named(name) for name in ("first", "second", "within"))
        assert (first.kind, first.attributes, first.parent_id) == ("PRODUCER", {"count": 3}, None)
        assert first.resource["service.name"] == "s"
        assert (second.links[0].span_id, second.links[0].attributes) == (first.span_id, {"of": "first"})
        assert (within.parent_id, within.trace_id) == (second.span_id, second.trace_id)
        assert second.events == ["step"]
        assert receiver.requests[0].headers["Content-Encoding"] == "gzip"


async def test_it_fails_as_it_is_told_and_comes_back_where_it_was() -> None:
    async with OtlpReceiver() as receiver:
        exporter = OTLPSpanExporter(f"{receiver.url}/v1/traces", timeout=1)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        tracer = provider.get_tracer("test")

        receiver.behaviour.status = 400
        await asyncio.to_thread(lambda: tracer.start_span("refused").end())
        assert (receiver.spans, [request.status for request in receiver.requests]) == ([], [400])

        receiver.behaviour.status = 200
        url = receiver.url
        await receiver.down()
        await asyncio.to_thread(lambda: tracer.start_span("nobody there").end())
        await receiver.up()
        assert receiver.url == url
        await asyncio.to_thread(lambda: tracer.start_span("taken").end())
        assert [span.name for span in receiver.spans] == ["taken"]
        await asyncio.to_thread(provider.shutdown)

"""Pushing to a receiver with OpenTelemetry's protobufs, over real sockets; only time is the test's own."""

import asyncio
from collections import Counter as Tally
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry, Counter, Gauge
from structlog.testing import capture_logs

from service.simulator import tls
from service.telemetry import tracing
from service.telemetry.push import settings
from service.telemetry.push.metrics import Exported, PushMetrics, Signal
from service.telemetry.push.push import Push
from service.telemetry.push.sender import MAX_RETRY_AFTER_S, retry_after_s
from tests.clock import FakeClock
from tests.otlp import OtlpReceiver, attributes
from tests.unit.reconnect.fakes import LongestWait

SECRET = "Bearer%20c2VjcmV0"
ROOM, BATCH = 20, 5


class Pushing:
    """A `Push` at work, and what the receiver makes of its counter."""

    def __init__(self, endpoint: str, **variables: str) -> None:
        self.clock = FakeClock()
        self.registry = CollectorRegistry(auto_describe=True)
        self.sent = Counter("sent", "Messages sent.", registry=self.registry)
        self.metrics = PushMetrics(self.registry, "default")
        resource = Resource({"service.name": "beacon", "service.instance.id": "one"})
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization={SECRET}",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
            "OTEL_BSP_MAX_QUEUE_SIZE": str(ROOM),
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": str(BATCH),
            **variables,
        }
        self.push = Push(
            settings.read(environ),
            registry=self.registry,
            resource=resource,
            metrics=self.metrics,
            clock=self.clock,
            rng=LongestWait(),
        )
        self.tracer: Tracer = tracing.build_provider(resource, self.push.spans).get_tracer("beacon")
        self.task = asyncio.create_task(self.push.run())

    def trace(self, *names: str) -> None:
        for name in names:
            self.tracer.start_span(name).end()

    def exported(self, signal: Signal) -> Tally[str]:
        """How often each result came."""
        return +Tally(
            {
                result.value: int(counter._value.get())
                for (of, result), counter in self.metrics.exports.items()
                if of is signal
            }
        )

    def dropped(self, signal: Signal) -> float:
        return float(self.metrics.dropped[signal]._value.get())

    async def rest(self) -> None:
        """Until both signals wait for time to pass."""
        await until(lambda: len(self.clock.sleeps) == 2)

    async def turn(self, seconds: float) -> None:
        """Let that much time pass, and what is due then be done."""
        await self.rest()
        self.clock.advance(seconds)
        await asyncio.sleep(0)
        await self.rest()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


@asynccontextmanager
async def pushing(receiver: OtlpReceiver, **variables: str) -> AsyncIterator[Pushing]:
    world = Pushing(receiver.url, **variables)
    try:
        yield world
    finally:
        world.task.cancel()
        await asyncio.wait({world.task})
        await world.push.close(timeout_s=1)


@pytest.fixture
async def receiver() -> AsyncIterator[OtlpReceiver]:
    async with OtlpReceiver() as receiver:
        yield receiver


def total(receiver: OtlpReceiver, name: str = "sent_total") -> float:
    """The sum of a counter's deltas."""
    return sum(
        point.as_double
        for request in receiver.metrics
        for of_resource in request.resource_metrics
        for scope in of_resource.scope_metrics
        for metric in scope.metrics
        for point in metric.sum.data_points
        if metric.name == name
    )


async def test_metrics_go_out_at_the_start_and_at_every_interval_spans_after_their_delay(
    receiver: OtlpReceiver,
) -> None:
    async with pushing(receiver) as world:
        await world.rest()
        assert len(receiver.metrics) == 1
        world.trace("send direct")
        world.sent.inc(3)
        await world.turn(5)
        assert [span.name for span in receiver.spans] == ["send direct"]
        await world.turn(55)
        assert len(receiver.metrics) == 2
        assert total(receiver) == 3
        (of_resource,) = receiver.metrics[-1].resource_metrics
        assert attributes(of_resource.resource.attributes) == receiver.spans[0].resource
        assert world.exported(Signal.METRICS) == {"accepted": 2}
        assert world.exported(Signal.TRACES) == {"accepted": 1}


async def test_a_full_batch_does_not_wait(receiver: OtlpReceiver) -> None:
    async with pushing(receiver) as world:
        await world.rest()
        world.trace(*(str(number) for number in range(BATCH + 1)))
        await receiver.until(lambda it: len(it.spans) == BATCH)
        await world.turn(5)
        assert len(receiver.spans) == BATCH + 1


async def test_requests_are_compressed_protobuf_with_the_operators_headers(receiver: OtlpReceiver) -> None:
    async with pushing(receiver) as world:
        await world.rest()
        headers = {name.lower(): value for name, value in receiver.requests[0].headers.items()}
        assert headers["content-encoding"] == "gzip"
        assert headers["authorization"] == "Bearer c2VjcmV0"
        assert headers["user-agent"].startswith("beacon/")
    async with pushing(receiver, OTEL_EXPORTER_OTLP_COMPRESSION="none") as world:
        await world.rest()
        assert "Content-Encoding" not in receiver.requests[-1].headers


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_busy_receiver_gets_everything_once_later(receiver: OtlpReceiver, status: int) -> None:
    receiver.behaviour.status = status
    async with pushing(receiver) as world:
        world.trace("send direct")
        world.sent.inc(2)
        await world.turn(5)
        assert receiver.spans == []
        world.sent.inc(1)
        receiver.behaviour.status = 200
        await world.turn(60)
        assert [span.name for span in receiver.spans] == ["send direct"]
        assert total(receiver) == 3
        assert world.dropped(Signal.TRACES) == world.dropped(Signal.METRICS) == 0


async def test_a_busy_receiver_says_how_long_it_is_left_alone(receiver: OtlpReceiver) -> None:
    receiver.behaviour.status, receiver.behaviour.headers = 503, {"Retry-After": "240"}
    async with pushing(receiver) as world:
        world.trace("send direct")
        await world.rest()
        assert len(receiver.requests) == 2
        assert world.clock.sleeps == pytest.approx([264.0, 264.0])
        await world.turn(239)
        assert len(receiver.requests) == 2


async def test_a_busy_receiver_is_not_hammered_because_it_says_so(receiver: OtlpReceiver) -> None:
    receiver.behaviour.status, receiver.behaviour.headers = 503, {"Retry-After": "0"}
    async with pushing(receiver) as world:
        world.trace("send direct")
        await world.rest()
        assert min(world.clock.sleeps) >= 0.5


async def test_attempts_at_a_receiver_that_is_away_become_rare(receiver: OtlpReceiver) -> None:
    await receiver.down()
    async with pushing(receiver, OTEL_TRACES_EXPORTER="none") as world:
        waits = []
        for _ in range(9):
            await until(lambda: len(world.clock.sleeps) == 1)
            waits.append(world.clock.sleeps[0])
            world.clock.advance(waits[-1])
            await asyncio.sleep(0)
        assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


async def test_what_happened_while_the_receiver_was_away_arrives_when_it_is_back(
    receiver: OtlpReceiver,
) -> None:
    async with pushing(receiver) as world:
        await world.rest()
        await receiver.down()
        world.trace("connect")
        world.sent.inc(5)
        await world.turn(60)
        assert world.exported(Signal.METRICS)["unreachable"] == 1
        await receiver.up()
        world.sent.inc(1)
        await world.turn(60)
        assert [span.name for span in receiver.spans] == ["connect"]
        assert total(receiver) == 6


async def test_what_is_refused_for_good_is_not_sent_again_and_metrics_lose_nothing(
    receiver: OtlpReceiver,
) -> None:
    async with pushing(receiver) as world:
        await world.rest()
        receiver.behaviour.status = 400
        world.trace("one", "two")
        world.sent.inc(5)
        await world.turn(60)
        assert world.dropped(Signal.TRACES) == 2
        receiver.behaviour.status = 200
        await world.turn(60)
        assert receiver.spans == []
        assert total(receiver) == 5
        assert world.dropped(Signal.METRICS) == 0
        assert world.exported(Signal.METRICS) == {"accepted": 2, "refused": 1}


async def test_what_a_receiver_did_not_take_of_a_request_is_counted_told_and_not_repeated(
    receiver: OtlpReceiver,
) -> None:
    receiver.behaviour.rejected = 2
    with capture_logs() as lines:
        async with pushing(receiver) as world:
            world.trace("one", "two", "three")
            await world.turn(5)
            assert world.dropped(Signal.TRACES) == world.dropped(Signal.METRICS) == 2
            assert world.exported(Signal.TRACES) == {"partial": 1}
    told = [line for line in lines if line.get("result") == "partial"]
    assert {(line["answer"], line["rejected"], line["log_level"]) for line in told} == {
        ("told to", 2, "warning")
    }


async def test_a_receiver_that_does_not_answer_is_given_up_and_holds_up_nobody(
    receiver: OtlpReceiver,
) -> None:
    receiver.behaviour.delay_s = 600
    async with pushing(receiver, OTEL_EXPORTER_OTLP_TIMEOUT="1500") as world:
        world.trace("send direct")
        await world.rest()
        assert world.exported(Signal.METRICS) == {"timeout": 1}
        assert world.exported(Signal.TRACES) == {"timeout": 1}
        receiver.behaviour.delay_s = 0
        await world.turn(60)
        assert [span.name for span in receiver.spans] == ["send direct"]


async def test_while_nobody_takes_them_no_more_spans_are_kept_than_there_is_room_for_the_latest(
    receiver: OtlpReceiver,
) -> None:
    receiver.behaviour.status = 503
    async with pushing(receiver) as world:
        spans = world.push.spans
        assert spans is not None
        for number in range(10 * ROOM):
            world.trace(str(number))
            await asyncio.sleep(0)
            assert spans.left <= ROOM
        assert world.dropped(Signal.TRACES) == 9 * ROOM
        receiver.behaviour.status = 200
        while spans.left:
            await world.turn(60)
        arrived = [int(span.name) for span in receiver.spans]
        assert len(arrived) == ROOM
        assert arrived[-(ROOM - BATCH) :] == list(range(10 * ROOM - (ROOM - BATCH), 10 * ROOM))


async def test_an_error_in_what_is_collected_is_told_and_ends_nothing(receiver: OtlpReceiver) -> None:
    async with pushing(receiver) as world:
        await world.rest()
        gauge = Gauge("broken", "Cannot be read.", registry=world.registry)
        gauge.set_function(lambda: 1 / 0)
        with capture_logs() as lines:
            await world.turn(60)
        assert world.exported(Signal.METRICS)["failed"] == 1
        assert [line["signal"] for line in lines if line["event"] == "telemetry.not_encoded"] == ["metrics"]
        gauge.set_function(lambda: 1)
        await world.turn(60)
        assert world.exported(Signal.METRICS)["accepted"] == 2


async def test_the_last_push_has_everything_that_happened(receiver: OtlpReceiver) -> None:
    async with pushing(receiver) as world:
        await world.rest()
        world.trace(*(str(number) for number in range(BATCH - 1)))
        world.sent.inc(7)
    assert len(receiver.spans) == BATCH - 1
    assert total(receiver) == 7


async def test_a_stop_during_a_request_counts_nothing_twice(receiver: OtlpReceiver) -> None:
    world = Pushing(receiver.url)
    world.sent.inc(7)
    await until(lambda: bool(world.clock.sleeps))
    receiver.behaviour.delay_s = 0.2  # the request is on its way when the stop comes
    world.clock.advance(60)
    await asyncio.sleep(0)
    world.task.cancel()
    await asyncio.wait({world.task})
    await world.push.close(timeout_s=20)
    assert total(receiver) == 7


async def test_a_stop_does_not_wait_longer_than_it_may(receiver: OtlpReceiver) -> None:
    async with pushing(receiver) as world:
        await world.rest()
        receiver.behaviour.delay_s = 600
        world.trace("one", "two")
        with capture_logs() as lines:
            world.task.cancel()
            await asyncio.wait({world.task})
            await world.push.close(timeout_s=0.2)
        cut = {line["signal"]: line["left"] for line in lines if line["event"] == "telemetry.flush_cut_short"}
        assert cut == {"traces": 2, "metrics": 0}
        receiver.behaviour.delay_s = 0


async def test_a_failure_is_told_when_it_begins_and_when_it_ends_without_the_headers(
    receiver: OtlpReceiver,
) -> None:
    receiver.behaviour.status = 401
    with capture_logs() as lines:
        async with pushing(receiver, OTEL_TRACES_EXPORTER="none") as world:
            for status in (401, 401, 200, 200):
                receiver.behaviour.status = status
                await until(lambda: len(world.clock.sleeps) == 1)
                world.clock.advance(60)
                await asyncio.sleep(0)
            await until(lambda: len(world.clock.sleeps) == 1)
    told = [(line["result"], line["answer"], line["log_level"]) for line in lines]
    assert told == [("refused", "401", "warning"), ("accepted", "200", "info")]
    assert "c2VjcmV0" not in repr(lines)


async def test_headers_are_not_carried_to_where_a_receiver_redirects() -> None:
    seen = []

    async def elsewhere(request: web.Request) -> web.Response:
        seen.append(request.path)
        raise web.HTTPTemporaryRedirect("/other")

    application = web.Application()
    application.router.add_post("/{path:.*}", elsewhere)
    async with TestServer(application) as server:
        world = Pushing(str(server.make_url("")), OTEL_TRACES_EXPORTER="none")
        await until(lambda: bool(world.clock.sleeps))
        assert world.exported(Signal.METRICS) == {"refused": 1}
        world.task.cancel()
        await asyncio.wait({world.task})
        await world.push.close(timeout_s=1)
    assert "/other" not in seen


@pytest.mark.parametrize(("trusted", "result"), [(False, "unreachable"), (True, "accepted")])
async def test_a_receivers_certificate_is_checked_by_the_authority_that_the_operator_names(
    tmp_path: Path, trusted: bool, result: str
) -> None:
    ca_file, context = tls.authority(tmp_path)

    async def take(_: web.Request) -> web.Response:
        return web.Response(content_type="application/x-protobuf")

    application = web.Application()
    application.router.add_post("/v1/metrics", take)
    server = TestServer(application, scheme="https", host="localhost")
    await server.start_server(ssl=context)
    try:
        authority = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(ca_file)} if trusted else {}
        world = Pushing(str(server.make_url("")), OTEL_TRACES_EXPORTER="none", **authority)
        await until(lambda: bool(world.clock.sleeps))
        assert world.exported(Signal.METRICS) == {result: 1}
        world.task.cancel()
        await asyncio.wait({world.task})
        await world.push.close(timeout_s=0.1)
    finally:
        await server.close()


async def test_without_an_endpoint_there_is_nothing_to_do() -> None:
    world = Pushing("")
    async with asyncio.timeout(60):
        await world.task
        await world.push.close(timeout_s=1)
    assert world.push.spans is None


def test_every_export_and_loss_is_zero_from_the_start() -> None:
    registry = CollectorRegistry()
    PushMetrics(registry, "default")
    samples = [
        sample
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]
    assert len(samples) == len(Signal) * (len(Exported) + 1)
    assert {sample.value for sample in samples} == {0}


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120),
        ("86400", MAX_RETRY_AFTER_S),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("٣", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_reason(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, now=1_700_000_000.0) == seconds

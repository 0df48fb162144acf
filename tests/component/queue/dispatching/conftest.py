"""A dispatcher on a real store; the stores' own promises are checked elsewhere, so one of them is enough."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from service.engine.protocol import Refusal
from service.queue.dispatcher import Dispatcher
from service.queue.files import OutgoingFiles
from service.queue.metrics import QueueMetrics
from service.queue.outbox import Outbox
from service.queue.pace.contract import Pacer
from service.queue.sqlite import SqliteStore
from service.telemetry.bound import Bound, BoundMetrics
from service.telemetry.pseudonym import Pseudonyms
from tests.clock import FakeClock
from tests.component.queue.conftest import ACCOUNT, MakeStore
from tests.component.queue.dispatching.engine import FakeEngine
from tests.component.queue.dispatching.harness import UNKNOWN_WAIT_S, Queue, Session
from tests.component.queue.dispatching.pacer import ScriptedPacer


@pytest.fixture
def make_store(database: Path, clock: FakeClock, metrics: QueueMetrics) -> MakeStore:
    return lambda: SqliteStore(database, account=ACCOUNT, metrics=metrics, clock=clock)


@pytest.fixture
def engine(clock: FakeClock) -> FakeEngine:
    return FakeEngine(clock)


@pytest.fixture
def pacer() -> Pacer:
    return ScriptedPacer()


@pytest.fixture
def build(
    store: SqliteStore,
    engine: FakeEngine,
    pacer: Pacer,
    clock: FakeClock,
    metrics: QueueMetrics,
    registry: CollectorRegistry,
    tmp_path: Path,
) -> Queue:
    """A queue whose dispatcher does not run yet."""
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    tracer = provider.get_tracer("test")
    session, outgoing = Session(), tmp_path / "outgoing"
    dispatcher = Dispatcher(
        store=store,
        send=engine.send,
        find_message_id=engine.find_message_id,
        session_identity=session,
        files=OutgoingFiles(outgoing, read=store.file),
        pacer=pacer,
        worker="7",
        unknown_wait_s=UNKNOWN_WAIT_S,
        clock=clock,
        rng=Random(1),
        metrics=metrics,
        tracer=tracer,
        pseudonyms=Pseudonyms(b"key"),
    )
    outbox = Outbox(
        store=store,
        wake=dispatcher.wake,
        clock=clock,
        metrics=metrics,
        tracer=tracer,
        bound=Bound(0, clock=clock),
        bound_metrics=BoundMetrics(registry, "default"),
    )
    return Queue(
        store=store,
        engine=engine,
        dispatcher=dispatcher,
        outbox=outbox,
        session=session,
        outgoing=outgoing,
        clock=clock,
        registry=registry,
        spans=spans,
    )


@pytest.fixture
async def queue(build: Queue) -> AsyncIterator[Queue]:
    """A queue whose dispatcher runs, not yet connected."""
    running = asyncio.create_task(build.dispatcher.run())
    yield build
    for sending in build.engine.sends:
        if not sending.answer.done():
            build.engine.refuse(sending, Refusal.NOT_CONNECTED)
    stopping = asyncio.create_task(build.dispatcher.stop())
    while not stopping.done():
        build.clock.advance(1)
        await asyncio.sleep(0)
    await running

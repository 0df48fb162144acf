"""A Beacon whose HTTP side, outbox and store are real, and whose WhatsApp is scripted."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from service.alerting.desk import AlertDesk
from service.alerting.metrics import AlertMetrics
from service.alerting.rendering import Rendering
from service.backup.assembly import OFF
from service.config import Settings
from service.engine.protocol import Hello
from service.queue.metrics import QueueMetrics
from service.queue.model import State
from service.queue.outbox import Outbox
from service.queue.sqlite import SqliteStore
from service.telemetry.bound import Bound, BoundMetrics
from service.telemetry.registry import build_registry
from service.web.application import build
from service.web.health import Health
from service.web.metrics import WebMetrics
from tests.clock import FakeClock
from tests.component.web.backed_up import BackedUp
from tests.component.web.scripted import BrokenOutbox, ScriptedConnection

API_TOKEN = "correct-horse-battery"
METRICS_TOKEN = "scraper-only-0123456"


@dataclass
class Facts:
    """What the rest of the service would tell about its health."""

    heartbeat_age_s: float | None = 1.0
    store_trouble: str | None = None
    engine: Hello | None = None


@dataclass
class Beacon:
    """The service as HTTP sees it, and the strings that a test pulls."""

    application: Application
    client: TestClient[Request, Application]
    connection: ScriptedConnection
    outbox: BrokenOutbox
    store: SqliteStore
    clock: FakeClock
    health: Health
    facts: Facts
    registry: CollectorRegistry
    spans: InMemorySpanExporter = field(repr=False)
    backups: BackedUp | None = None

    def sample(self, name: str, **labels: str) -> float | None:
        """The value of a metric now."""
        return self.registry.get_sample_value(f"whatsapp_{name}", {"account": "default", **labels})

    def kept(self) -> int:
        """How many messages the queue holds."""
        return sum(self.outbox.counts().values())

    async def post(self, **message: object) -> dict[str, Any]:
        """Hand in one message; what the 202 says."""
        response = await self.client.post("/api/v1/messages", json=message)
        assert response.status == 202, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


Start = Callable[..., Awaitable[Beacon]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a Beacon with these settings; with `backed_up` its session, made for the test, has backups."""
    async with AsyncExitStack() as stack:

        async def start_one(*, backed_up: bool = False, **settings: object) -> Beacon:
            made = Settings(**settings)  # type: ignore[arg-type]
            return await _started(stack, tmp_path, made, backed_up=backed_up)

        yield start_one


@pytest.fixture
async def beacon(start: Start) -> Beacon:
    """A Beacon without tokens, as on a laptop."""
    return await start()


@pytest.fixture
async def guarded(start: Start) -> Beacon:
    """A Beacon that wants tokens."""
    return await start(api_token=API_TOKEN, metrics_token=METRICS_TOKEN)


async def _started(stack: AsyncExitStack, folder: Path, settings: Settings, *, backed_up: bool) -> Beacon:
    clock = FakeClock()
    registry = build_registry("default")
    spans = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    tracer = provider.get_tracer("test")
    stack.callback(provider.shutdown)

    queue_metrics = QueueMetrics(registry, "default")
    store = SqliteStore(folder / "queue.db", account="default", metrics=queue_metrics, clock=clock)
    await store.open()
    stack.push_async_callback(store.close)
    outbox = BrokenOutbox(
        Outbox(
            store=store,
            wake=lambda: None,
            metrics=queue_metrics,
            tracer=tracer,
            clock=clock,
            bound=Bound(0, clock=clock),
            bound_metrics=BoundMetrics(registry, "default"),
        )
    )
    connection = ScriptedConnection()
    facts = Facts()
    backups = BackedUp(folder, registry=registry, clock=clock, tracer=tracer) if backed_up else None
    if backups is not None:
        stack.push_async_callback(backups.close)
    health = Health(
        clock=clock,
        started_at=clock.now(),
        heartbeat_age_s=lambda: facts.heartbeat_age_s,
        store_trouble=lambda: facts.store_trouble,
        status=lambda: connection.status,
        engine=lambda: facts.engine,
        counts=outbox.counts,
        oldest_queued_at=outbox.oldest_queued_at,
        held_back=lambda: None,
        backup=lambda: OFF if backups is None else backups.desk.status(),
    )
    application = build(
        settings=settings,
        outbox=outbox,
        connection=connection,
        health=health,
        registry=registry,
        metrics=WebMetrics(registry, "default"),
        tracer=tracer,
        clock=clock,
        alerts=AlertDesk(
            chats=settings.alert_chats,
            rendering=Rendering(own=settings.alert_template),
            enqueue=outbox.enqueue,
            clock=clock,
            metrics=AlertMetrics(registry, "default"),
        ),
        backups=None if backups is None else backups.desk,
    )
    client = TestClient(TestServer(application))
    await stack.enter_async_context(client)
    return Beacon(
        application=application,
        client=client,
        connection=connection,
        outbox=outbox,
        store=store,
        clock=clock,
        health=health,
        facts=facts,
        registry=registry,
        spans=spans,
        backups=backups,
    )


EMPTY = dict.fromkeys(State, 0)

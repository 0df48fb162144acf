"""Engines for tests, each ended when its test is over."""

import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from service.clock import Clock, SystemClock
from service.engine.metrics import EngineMetrics
from service.engine.process import EngineProcess
from service.engine.protocol import AnyEvent
from service.simulator.server import Simulator
from tests.component.engine.world import World
from tests.ports import free_port

ROOT = Path(__file__).parents[3]
MISBEHAVING = (sys.executable, "-m", "tests.component.engine.misbehaving")
REAL = (sys.executable, "-m", "service.engine.child")


@dataclass
class Watched:
    """An engine with what it told and counted."""

    process: EngineProcess
    registry: CollectorRegistry
    events: list[AnyEvent] = field(default_factory=list)

    def counted(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"whatsapp_engine_{name}", {"account": "test", **labels})


Spawn = Callable[..., Watched]


@pytest.fixture
async def spawn() -> AsyncIterator[Spawn]:
    """Makes engines that are not started yet: `spawn(entry, environment, **options of EngineProcess)`."""
    watched: list[Watched] = []

    def make(
        entry: Sequence[str],
        environment: dict[str, str] | None = None,
        *,
        clock: Clock | None = None,
        **options: Any,
    ) -> Watched:
        registry, events = CollectorRegistry(), list[AnyEvent]()
        process = EngineProcess(
            entry=entry,
            environment={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            on_event=events.append,
            metrics=EngineMetrics(registry, "test"),
            clock=clock or SystemClock(),
            **options,
        )
        watched.append(Watched(process, registry, events))
        return watched[-1]

    yield make
    for engine in watched:
        if engine.process.pid is not None:
            await engine.process.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One simulator for a module's tests, which must leave it healed."""
    async with Simulator(tmp_path_factory.mktemp("tls"), port=free_port()) as simulator:
        world = World(simulator, tmp_path_factory.mktemp("sessions"))
        yield world
        await world.close()

"""The supervisor with real engines on the simulator; its own clock stands until a test moves it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from service.clock import SystemClock
from service.engine.content import Text
from service.engine.metrics import EngineMetrics
from service.engine.process import EngineProcess
from service.engine.protocol import AnyEvent, Sent
from service.engine.session import SessionFile
from service.reconnect.backoff import Backoff
from service.reconnect.deadlines import DeadlineFile
from service.reconnect.lease import LocalLease
from service.reconnect.metrics import ReconnectMetrics
from service.reconnect.probe import Probe
from service.reconnect.status import State, Status
from service.reconnect.supervisor import Supervisor
from service.simulator.engine import ENGINE_ENTRY
from service.simulator.server import Simulator
from tests.clock import FakeClock
from tests.people import ANN, BEACON
from tests.unit.reconnect.fakes import LongestWait

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0


class Account:
    """One account of the simulator, kept connected by a supervisor."""

    def __init__(self, simulator: Simulator, folder: Path, *, memory_limit_bytes: int | None = None) -> None:
        self.simulator = simulator
        self.clock = FakeClock()
        self.engines: list[EngineProcess] = []
        self.seen: list[Status] = []
        self._changed = asyncio.Event()
        self._waited_for = 0
        self._tokens = 0
        self._registry = CollectorRegistry()
        self._engine_metrics = EngineMetrics(CollectorRegistry(), "default")
        self.session = SessionFile(folder / "session.db")
        self.supervisor = Supervisor(
            spawn=self._spawn,
            session=self.session,
            lease=LocalLease(folder / "lease"),
            memory_limit_bytes=memory_limit_bytes,
            deadlines=DeadlineFile(folder / "deadline.json"),
            device_name="Beacon",
            proxy=simulator.proxy,
            probe=Probe(simulator.proxy),
            backoff=Backoff(),
            clock=self.clock,
            rng=LongestWait(),
            metrics=ReconnectMetrics(self._registry, "default", monotonic=self.clock.monotonic),
            tracer=TracerProvider().get_tracer("test"),
        )
        self.supervisor.subscribe(self._saw)
        self.supervisor.listen(lambda _: self._changed.set())

    def _spawn(self, on_event: Callable[[AnyEvent], None]) -> EngineProcess:
        self.engines.append(
            EngineProcess(
                entry=ENGINE_ENTRY,
                environment={**os.environ, "PYTHONPATH": str(ROOT), **self.simulator.environment()},
                on_event=on_event,
                metrics=self._engine_metrics,
                clock=SystemClock(),
            )
        )
        return self.engines[-1]

    def _saw(self, status: Status) -> None:
        self.seen.append(status)
        self._changed.set()

    @property
    def status(self) -> Status:
        return self.supervisor.status

    def metric(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(name, {"account": "default", **labels})

    def states(self) -> list[State]:
        """Each state that it has been in, in order."""
        states = [status.state for status in self.seen]
        return [state for at, state in enumerate(states) if at == 0 or state is not states[at - 1]]

    async def until(self, fits: Callable[[Status], bool]) -> Status:
        """The first status that fits: now, after any event that comes, or passed through since the last one
        that was waited for, however quickly."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (found := self._first(fits)) is None:
                    self._changed.clear()
                    await self._changed.wait()
                return found
        except TimeoutError:
            raise AssertionError(f"it stays {self.status}; before: {self.states()}") from None

    def _first(self, fits: Callable[[Status], bool]) -> Status | None:
        if fits(self.status):
            self._waited_for = len(self.seen)
            return self.status
        for at in range(self._waited_for, len(self.seen)):
            if fits(self.seen[at]):
                self._waited_for = at + 1
                return self.seen[at]
        return None

    async def until_state(self, state: State) -> Status:
        return await self.until(lambda status: status.state is state)

    async def until_reason(self, reason: str) -> Status:
        return await self.until(lambda status: status.reason == reason)

    async def passes(self, seconds: float) -> None:
        """Let time pass for the supervisor, once it waits for that."""
        await self.waits(seconds)
        self.clock.advance(seconds)

    async def waits(self, seconds: float) -> None:
        """It waits for something that comes within that time."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not any(0 < left <= seconds for left in self.clock.sleeps):
                    await asyncio.sleep(0)
        except TimeoutError:
            raise AssertionError(f"nothing waits {seconds} s or less: {self.clock.sleeps}") from None

    async def stands_by(self) -> None:
        """An engine has been started that does not connect yet."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while self.engines[-1].hello is None:
                    await asyncio.sleep(0)
        except TimeoutError:
            raise AssertionError("no engine stands by") from None

    async def pair(self) -> None:
        """The phone scans the QR code that is shown."""
        shown = await self.until_state(State.PAIRING)
        assert shown.qr is not None
        await self.simulator.scan(shown.qr, BEACON)

    async def online(self) -> None:
        """Paired, connected, and stable, so that nothing is counted against it."""
        await self.pair()
        await self.until_state(State.CONNECTED)
        await self.passes(60)
        await self.until(lambda status: status.attempt == 0)

    async def sends(self) -> bool:
        """Can it really send."""
        self.simulator.register(ANN)
        self._tokens += 1
        reply = await self.supervisor.send(
            token=self._tokens,
            chat=f"{ANN}@s.whatsapp.net",
            content=Text(text="hello"),
            file=None,
            secret=os.urandom(32),
            behind=None,
            traceparent=None,
        )
        return isinstance(reply, Sent)

    def kill_engine(self) -> None:
        pid = self.engines[-1].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)


@asynccontextmanager
async def living(
    simulator: Simulator, folder: Path, *, memory_limit_bytes: int | None = None
) -> AsyncIterator[Account]:
    """A service's connection, from its start to its stop."""
    account = Account(simulator, folder, memory_limit_bytes=memory_limit_bytes)
    running = asyncio.create_task(account.supervisor.run())
    try:
        yield account
    finally:
        await account.supervisor.stop()
        await running


@pytest.fixture
async def account(simulator: Simulator, tmp_path: Path) -> AsyncIterator[Account]:
    async with living(simulator, tmp_path) as account:
        yield account

"""A world in which an engine does what a test says, in the order in which the test says it.

Real neonize cannot be made to answer in a chosen order; the component tests have the real one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from service.engine.content import AnyContent
from service.engine.exits import ExitCause, ExitReport
from service.engine.protocol import PROTOCOL_VERSION, Answered, AnyEvent, Connected, Hello, Refused, Sent
from service.errors import EngineGone, EngineRefused, EngineStartFailed
from service.reconnect.backoff import Backoff
from service.reconnect.deadlines import Deadline
from service.reconnect.lease import Hindered
from service.reconnect.lease_metrics import Hindrance
from service.reconnect.metrics import ReconnectMetrics
from service.reconnect.status import State, Status
from service.reconnect.supervisor import Supervisor
from tests.clock import FakeClock

DEVICE = "15550000001:7@s.whatsapp.net"
STOPS_WITHIN_S = 30
TURNS = 40
"""Turns of the loop after which everything that can happen at a standing clock has happened."""


class LongestWait(Random):
    """Draws the longest wait allowed, so that a bound shows."""

    def uniform(self, a: float, b: float) -> float:
        return b


class FakeEngine:
    """Has the methods of EngineProcess; ends when told or when the test says."""

    def __init__(self, world: "World", on_event: Callable[[AnyEvent], None]) -> None:
        self.world = world
        self.tell = on_event
        self.ended: asyncio.Future[ExitReport] = asyncio.get_running_loop().create_future()
        self.ended_by: str | None = None
        self.kills = 0
        self.running = False
        self.opened = False

    async def start(self) -> Hello:
        assert not self.world.running, "two engines at once"
        self.running = True
        try:
            await self.world.clock.sleep(self.world.start_takes_s)
        except asyncio.CancelledError:
            self.die(ExitCause.STOPPED)
            raise
        if self.world.start_fails:
            self.die(ExitCause.START_FAILED)
            raise EngineStartFailed("it did not come up")
        return Hello(protocol=PROTOCOL_VERSION, pid=1, neonize="0", whatsmeow="0")

    async def connect(self, *, database: Path, device_name: str, proxy: str | None) -> None:
        if self.world.connect_refused:
            raise EngineRefused("no")
        if self.ended.done():
            raise EngineGone("gone")
        self.opened = True
        self.world.logged_in(self)

    async def send(
        self,
        *,
        token: int,
        chat: str,
        content: AnyContent,
        file: Path | None,
        secret: bytes,
        behind: int | None,
        traceparent: str | None,
    ) -> Sent | Refused:
        return Sent(id=1, message_id="3EB0", timestamp=0.0, took_s=0.0)

    async def pair_phone(self, phone: str) -> str:
        return "ABCD-EFGH"

    async def presence(self, *, available: bool) -> None:
        self.world.presences.append(available)

    async def ask_server(self) -> Answered:
        self.world.questions.append(self.world.clock.monotonic())
        if self.world.deaf:
            await self.wait()
            raise EngineGone("gone")
        return Answered(id=1, refused=self.world.refuses_questions)

    async def logout(self) -> None:
        if self.world.logout_refused:
            raise EngineRefused("the server said no")
        self.world.device = None

    async def stop(self) -> ExitReport:
        return await self._end("stop")

    async def kill(self) -> ExitReport:
        self.kills += 1
        return await self._end("kill")

    async def wait(self) -> ExitReport:
        return await asyncio.shield(self.ended)

    async def _end(self, how: str) -> ExitReport:
        self.ended_by = self.ended_by or how
        await self.world.clock.sleep(self.world.end_takes_s)
        self.die(ExitCause.STOPPED)
        return self.ended.result()

    def die(self, cause: ExitCause) -> None:
        self.running = False
        if not self.ended.done():
            self.ended.set_result(ExitReport(cause=cause, returncode=None, detail=""))


class FakeLease:
    """Held, lost and kept away as a test says."""

    def __init__(self) -> None:
        self.fence: int | None = None
        self.fences = 0
        self.away: Hindrance | None = None
        self.released_with: int | None = None
        self._changed = asyncio.Event()

    async def acquire(self, hindered: Hindered | None = None) -> int:
        told: Hindrance | None = None
        while self.away is not None:
            if hindered is not None and told is not self.away:
                told = self.away
                hindered(told)
            await self._change()
        self.fences += 1
        self.fence = self.fences
        return self.fence

    async def lost(self) -> None:
        while self.fence is not None:
            await self._change()

    async def release(self) -> None:
        self.released_with, self.fence = self.fence, None
        self._tell()

    def keep_away(self, hindrance: Hindrance = Hindrance.HELD_ELSEWHERE) -> None:
        """Nobody gets it; who held it has lost it."""
        self.away, self.fence = hindrance, None
        self._tell()

    def lose(self) -> None:
        """It is lost and can be had again."""
        self.away = self.fence = None
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change(self) -> None:
        await self._changed.wait()


class MemoryDeadlines:
    """Keeps a deadline as the disk would."""

    def __init__(self) -> None:
        self.kept: Deadline | None = None
        self.runs = False
        self._closed = asyncio.Event()

    def load(self) -> Deadline | None:
        return self.kept

    def keep(self, deadline: Deadline | None) -> None:
        self.kept = deadline

    async def run(self) -> None:
        self.runs = True
        await self._closed.wait()

    def close(self) -> None:
        self._closed.set()


class World:
    """The network, the session file and every engine that there has been."""

    def __init__(
        self,
        *,
        device: str | None = DEVICE,
        rng: Random | None = None,
        memory_limit_bytes: int | None = None,
    ) -> None:
        self.lease = FakeLease()
        self.deadlines = MemoryDeadlines()
        self.clock = FakeClock()
        self.device = device
        self.reachable = True
        self.starts_engine = True
        self.start_fails = False
        self.connect_refused = False
        self.start_takes_s = 0.0
        self.end_takes_s = 0.0
        self.engines: list[FakeEngine] = []
        self.logins: list[float] = []
        self.on_login: Callable[[], None] = lambda: None
        self.cleared = 0
        self.remove_fails = False
        self.logout_refused = False
        self.deaf = False
        self.refuses_questions = False
        self.questions: list[float] = []
        self.presences: list[bool] = []
        self.statuses: list[Status] = []
        self.path = Path("session.db")
        self.registry = CollectorRegistry()
        self.spans = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.supervisor = Supervisor(
            spawn=self._spawn,
            session=self,
            lease=self.lease,
            deadlines=self.deadlines,
            memory_limit_bytes=memory_limit_bytes,
            device_name="Beacon",
            proxy=None,
            probe=self._probe,
            backoff=Backoff(),
            clock=self.clock,
            rng=rng or LongestWait(),
            metrics=ReconnectMetrics(self.registry, "default", monotonic=self.clock.monotonic),
            tracer=provider.get_tracer("test"),
        )
        self.supervisor.subscribe(self.statuses.append)

    # the session file
    def prepare(self) -> None:
        """There is nothing to prepare."""

    def remove(self) -> None:
        assert not any(engine.opened for engine in self.running), "an engine has the file"
        if self.remove_fails:
            raise PermissionError("read-only")
        self.device = None
        self.cleared += 1

    async def device_jid(self) -> str | None:
        return self.device

    async def forget_device(self) -> None:
        assert not any(engine.opened for engine in self.running), "an engine has the file"
        self.device = None

    # what the supervisor is given
    def _spawn(self, on_event: Callable[[AnyEvent], None]) -> FakeEngine:
        self.engines.append(FakeEngine(self, on_event))
        return self.engines[-1]

    async def _probe(self) -> bool:
        return self.reachable

    def logged_in(self, engine: FakeEngine) -> None:
        self.logins.append(self.clock.monotonic())
        self.on_login()

    # what a test looks at
    @property
    def running(self) -> list[FakeEngine]:
        return [engine for engine in self.engines if engine.running]

    @property
    def engine(self) -> FakeEngine:
        return self.engines[-1]

    @property
    def status(self) -> Status:
        return self.supervisor.status

    def state(self) -> State:
        return self.status.state

    def metric(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(name, {"account": "default", **labels})
        assert value is not None, f"{name} {labels} does not exist"
        return value

    def states(self) -> set[str]:
        """The states that the metric shows as 1."""
        name = "whatsapp_connection_state"
        return {state for state in State if self.metric(name, **{name: state.value}) == 1}

    # what a test does
    async def settle(self) -> None:
        """Let everything happen that can happen now."""
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def happens(self, *events: AnyEvent) -> None:
        for event in events:
            self.engine.tell(event)
        await self.settle()

    async def passes(self, seconds: float) -> None:
        """Let time pass, in steps small enough for every timer."""
        await self.settle()
        end = self.clock.monotonic() + seconds
        while (left := end - self.clock.monotonic()) > 1e-9:
            due = [after for after in self.clock.sleeps if after > 0]
            self.clock.advance(min([left, *due]))
            await self.settle()

    async def dies(self, cause: ExitCause = ExitCause.CRASHED) -> None:
        self.engine.die(cause)
        await self.settle()

    async def connects(self) -> None:
        await self.happens(Connected(jid=DEVICE))

    @asynccontextmanager
    async def lives(self) -> AsyncIterator["World"]:
        """The supervisor runs; it is stopped at the end."""
        running = asyncio.create_task(self.supervisor.run())
        while not self.deadlines.runs:
            await asyncio.sleep(0)
        while self.starts_engine and not self.engines and self.reachable and self.lease.away is None:
            await asyncio.sleep(0)
        await self.settle()
        try:
            yield self
        finally:
            stopping = asyncio.create_task(self.supervisor.stop())
            await self.settle()
            for _ in range(STOPS_WITHIN_S):
                if not stopping.done():
                    await self.passes(1)
            assert stopping.done(), "the supervisor does not stop"
            await running

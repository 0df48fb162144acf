"""Builds the components, introduces them to each other, runs them, and takes them down in order.

Order of a start: folder, log, queue, HTTP, and only then WhatsApp, so that health can be asked and
messages are accepted before a connection exists. Order of a stop: readiness, new sends, the send in
flight, the engine, HTTP, the queue, traces.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random, SystemRandom
from types import FrameType
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from aiohttp import web
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry

import service
from service.bot.bot import Bot
from service.bot.builtin import add_builtin_commands
from service.bot.metrics import BotMetrics
from service.bot.plugins import load_plugins
from service.bot.router import Router
from service.clock import Clock, OutsideClock, SystemClock
from service.config import LOOPBACK, Settings
from service.datadir import DataDir
from service.engine.metrics import EngineMetrics
from service.engine.notebook import Notebook
from service.engine.process import EngineProcess
from service.engine.protocol import AnyEvent, MessageReceived, Receipt
from service.engine.session import SessionFile
from service.errors import AddressUnusable
from service.keepalive import KeepAlive, KeepAliveMetrics
from service.queue.aftermath import Aftermath
from service.queue.dispatcher import Dispatcher
from service.queue.files import OutgoingFiles
from service.queue.metrics import QueueMetrics
from service.queue.outbox import Outbox
from service.queue.pace.contract import Unpaced
from service.queue.sqlite import SqliteStore
from service.reconnect.backoff import Backoff
from service.reconnect.deadlines import DeadlineFile
from service.reconnect.lease import Lease, LocalLease
from service.reconnect.lease_metrics import LeaseMetrics
from service.reconnect.lease_postgres import PostgresLease
from service.reconnect.memory import container_share
from service.reconnect.metrics import ReconnectMetrics
from service.reconnect.presence import DailyPresence, PresenceMetrics
from service.reconnect.probe import Probe
from service.reconnect.status import State, Status
from service.reconnect.supervisor import Supervisor
from service.telemetry import logging, tracing
from service.telemetry.pseudonym import Pseudonyms
from service.telemetry.registry import build_registry
from service.terminal import Terminal
from service.web.application import build
from service.web.health import Health
from service.web.metrics import WebMetrics

log = structlog.get_logger(__name__)

SEND_GRACE_S = 8.0
"""How long a stop waits for sends on their way. With what follows (the engine, which is killed 5 s after it
was cut short, and the traces) a stop ends within 25 s: Heroku kills 30 s after its SIGTERM."""

ENGINE_GRACE_S = 7.0
FLUSH_S = 3.0
EX_SOFTWARE = 70
"""A component ended with an error that nobody expected: the process manager should start us again."""

SECRET_VARIABLES = frozenset(
    {"API_TOKEN", "METRICS_TOKEN", "DATABASE_URL", "KEEP_ALIVE_URL", "OTEL_EXPORTER_OTLP_HEADERS"}
)


@dataclass(frozen=True, slots=True)
class EngineCommand:
    """How the engine is started: its argv and what it finds in its environment beside ours."""

    entry: Sequence[str] = (sys.executable, "-m", "service.engine.child")
    environment: Mapping[str, str] = field(default_factory=dict)

    def full_environment(self) -> dict[str, str]:
        """Our environment without what the engine has no use for and must not leak."""
        return {k: v for k, v in os.environ.items() if k not in SECRET_VARIABLES} | dict(self.environment)


def run(settings: Settings, *, engine: EngineCommand | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Raises StartError, StoreError, PluginError."""
    logging.configure(settings.log_format, settings.log_level)
    with DataDir(settings.data_dir) as data:
        try:
            asyncio.run(_serve(settings, data, engine or EngineCommand()))
        except ExceptionGroup as crash:
            log.critical("service.crashed", exc_info=crash)
            return EX_SOFTWARE
    return 0


async def _serve(settings: Settings, data: DataDir, engine: EngineCommand) -> None:
    stop = Stop(asyncio.get_running_loop())
    with stop:
        async with _build(settings, data, engine) as beacon:
            for note in beacon.health.notes:
                log.warning("service.note", note=note)
            await beacon.run_until(stop)


class Stop:
    """SIGTERM and SIGINT: the first asks for a graceful stop, a second one skips to the end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._signal, number)

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.remove_signal_handler(number)
            signal.signal(number, _already_stopping)

    def _signal(self, number: signal.Signals) -> None:
        log.info("service.signal", signal=number.name, hurry=self.asked.is_set())
        (self.hurry if self.asked.is_set() else self.asked).set()


def _already_stopping(_: int, __: FrameType | None) -> None:
    """The end is near; a third Ctrl-C must not leave a traceback."""


@dataclass
class Service:
    """All components, wired."""

    settings: Settings
    supervisor: Supervisor
    dispatcher: Dispatcher
    bot: Bot
    chores: Mapping[str, Callable[[], Coroutine[Any, Any, None]]]
    """What is done beside, by name, until the service stops; no stop waits for it."""
    health: Health
    http: web.Application
    provider: TracerProvider

    async def run_until(self, stop: Stop) -> None:
        """Listen, run every component, and stop in order when asked.

        Raises AddressUnusable. A component that ends with an error ends the service with that error.
        """
        runner = web.AppRunner(self.http, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await self._listen(runner)
            async with asyncio.TaskGroup() as tasks:
                supervising = tasks.create_task(self.supervisor.run(), name="supervisor")
                dispatching = tasks.create_task(self.dispatcher.run(), name="dispatcher")
                answering = tasks.create_task(self.bot.run(), name="bot")
                chores = [tasks.create_task(chore(), name=name) for name, chore in self.chores.items()]
                await stop.asked.wait()
                self.health.shutting_down = True
                self.bot.stop()
                await _within(SEND_GRACE_S, self._finish(answering), unless=stop.hurry, step="sends")
                await _within(ENGINE_GRACE_S, self.supervisor.stop(), unless=stop.hurry, step="engine")
                for task in (answering, dispatching, supervising, *chores):
                    task.cancel()
        finally:
            await runner.cleanup()
            await asyncio.to_thread(tracing.flush, self.provider, timeout_s=FLUSH_S)
            log.info("service.stopped")

    async def _listen(self, runner: web.AppRunner) -> None:
        host, port = self.settings.listen_on, self.settings.port
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise AddressUnusable(
                f"HOST={host or '*'} PORT={port}: must be a free address of this machine ({error.strerror})"
            ) from error
        url = f"http://{host or LOOPBACK}:{runner.addresses[0][1]}/"
        log.info("service.listening", url=url)
        person = Terminal(sys.stdout)
        person.welcome(url=url, token_needed=self.settings.api_token is not None)
        self.supervisor.subscribe(person.show)

    async def _finish(self, answering: asyncio.Task[None]) -> None:
        """Let sends on their way end and commands be answered; the answers are kept in the queue."""
        await self.dispatcher.stop()
        await asyncio.wait({answering})


async def _within(
    patience_s: float, work: Coroutine[Any, Any, None], *, unless: asyncio.Event, step: str
) -> None:
    """Do this part of a stop, but not for ever, and not when somebody is in a hurry."""
    doing, hurried = asyncio.create_task(work), asyncio.create_task(unless.wait())
    await asyncio.wait({doing, hurried}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if doing.done():
        doing.result()
        return
    doing.cancel()
    log.warning("service.stop_cut_short", step=step, hurry=unless.is_set())


@asynccontextmanager
async def _build(settings: Settings, data: DataDir, engine: EngineCommand) -> AsyncIterator[Service]:
    account, clock, rng = settings.account, SystemClock(), SystemRandom()
    registry = build_registry(account)
    logging.count_into(logging.LogMetrics(registry, account))
    provider = tracing.build_provider(account)
    tracer = provider.get_tracer("beacon", service.__version__)
    pseudonyms = Pseudonyms(data.secret("pseudonym.key"))

    session = SessionFile(data.session)
    lease = _lease(settings, data, LeaseMetrics(registry, account), clock=clock)
    supervisor = _connection(settings, session, engine, registry, tracer, lease=lease, clock=clock, rng=rng)
    queue_metrics = QueueMetrics(registry, account)
    store = SqliteStore(data.queue, account=account, metrics=queue_metrics, clock=clock)
    await store.open()
    try:
        notebook = Notebook(session.path)
        await Aftermath(store=store, notebook=notebook, clock=clock, metrics=queue_metrics).settle()
        dispatcher = Dispatcher(
            store=store,
            send=supervisor.send,
            find_message_id=session.find_message_id,
            session_identity=session.identity,
            files=OutgoingFiles(data.path / "outgoing", read=store.file),
            pacer=Unpaced(),
            worker=str(os.getpid()),
            unknown_wait_s=settings.unknown_wait,
            clock=clock,
            rng=rng,
            metrics=queue_metrics,
            tracer=tracer,
            pseudonyms=pseudonyms,
        )
        outbox = Outbox(store=store, wake=dispatcher.wake, clock=clock, metrics=queue_metrics, tracer=tracer)
        router = _commands(settings, supervisor, outbox, clock)
        bot = Bot(
            router=router,
            enqueue=outbox.enqueue,
            admins=settings.bot_admins,
            metrics=BotMetrics(registry, account, commands=[command.name for command in router]),
            tracer=tracer,
            pseudonyms=pseudonyms,
            clock=clock,
        )
        _introduce(supervisor, dispatcher, bot)
        health = Health(
            clock=clock,
            started_at=clock.now(),
            heartbeat_age_s=lambda: clock.monotonic() - dispatcher.heartbeat_at,
            store_trouble=store.trouble,
            status=lambda: supervisor.status,
            engine=lambda: supervisor.engine,
            counts=outbox.counts,
            oldest_queued_at=outbox.oldest_queued_at,
            notes=_notes(settings),
        )
        application = build(
            settings=settings,
            outbox=outbox,
            connection=supervisor,
            health=health,
            registry=registry,
            metrics=WebMetrics(registry, account),
            tracer=tracer,
            clock=clock,
        )
        yield Service(
            settings=settings,
            supervisor=supervisor,
            dispatcher=dispatcher,
            bot=bot,
            chores=_chores(settings, supervisor, registry, clock=clock, rng=rng),
            health=health,
            http=application,
            provider=provider,
        )
    finally:
        await store.close()


def _lease(settings: Settings, data: DataDir, metrics: LeaseMetrics, *, clock: Clock) -> Lease:
    if settings.database_url is None:
        return LocalLease(data.path / "lease", clock=clock, metrics=metrics)
    url = settings.database_url.get_secret_value()
    return PostgresLease(url, account=settings.account, clock=OutsideClock(), metrics=metrics)


def _connection(
    settings: Settings,
    session: SessionFile,
    engine: EngineCommand,
    registry: CollectorRegistry,
    tracer: Tracer,
    *,
    lease: Lease,
    clock: Clock,
    rng: Random,
) -> Supervisor:
    metrics = EngineMetrics(registry, settings.account)
    proxy = settings.whatsapp_proxy.get_secret_value() if settings.whatsapp_proxy else None

    limit_mb = settings.memory_limit_mb

    def spawn(on_event: Callable[[AnyEvent], None]) -> EngineProcess:
        return EngineProcess(
            entry=engine.entry,
            environment=engine.full_environment(),
            on_event=on_event,
            metrics=metrics,
            clock=clock,
        )

    return Supervisor(
        spawn=spawn,
        session=session,
        lease=lease,
        memory_limit_bytes=container_share() if limit_mb is None else limit_mb * 1_000_000,
        deadlines=DeadlineFile(session.path.with_name("deadline.json")),
        device_name=settings.device_name,
        proxy=proxy,
        probe=Probe(proxy),
        backoff=Backoff(),
        clock=clock,
        rng=rng,
        metrics=ReconnectMetrics(registry, settings.account),
        tracer=tracer,
    )


def _commands(settings: Settings, supervisor: Supervisor, outbox: Outbox, clock: Clock) -> Router:
    router = Router(prefix=settings.bot_prefix)
    add_builtin_commands(
        router,
        status=lambda: supervisor.status,
        counts=outbox.counts,
        last_backup_at=lambda: None,  # this version makes no backups, and !status says so
        clock=clock,
        zone=ZoneInfo(settings.tz) if settings.tz else None,
    )
    load_plugins(router, settings.bot_plugins)
    return router


def _chores(
    settings: Settings, supervisor: Supervisor, registry: CollectorRegistry, *, clock: Clock, rng: Random
) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
    presence = DailyPresence(
        tell=supervisor.presence, clock=clock, rng=rng, metrics=PresenceMetrics(registry, settings.account)
    )
    supervisor.subscribe(presence.on_status)
    chores = {"presence": presence.run}
    metrics = KeepAliveMetrics(registry, settings.account)
    if settings.keep_alive_url is not None:
        url = settings.keep_alive_url.get_secret_value()
        chores["keep alive"] = KeepAlive(url, clock=clock, rng=rng, metrics=metrics).run
    return chores


def _introduce(supervisor: Supervisor, dispatcher: Dispatcher, bot: Bot) -> None:
    def on_status(status: Status) -> None:
        if status.state is State.CONNECTED:
            dispatcher.connected()
        elif status.state is State.WAITING_FOR_LEASE:
            dispatcher.disowned()
        else:
            dispatcher.disconnected()

    def on_event(event: AnyEvent) -> None:
        match event:
            case Receipt():
                dispatcher.receipt(event)
            case MessageReceived():
                bot.receive(event)

    supervisor.subscribe(on_status)
    supervisor.listen(on_event)


def _notes(settings: Settings) -> tuple[str, ...]:
    if settings.database_url is None:
        return ()
    return (
        "DATABASE_URL decides which process may connect; "
        "this version keeps the queue and the session in DATA_DIR only.",
    )

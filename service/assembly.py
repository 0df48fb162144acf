"""Builds the components and introduces them to each other."""

import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC
from random import Random, SystemRandom
from typing import Any, Final
from zoneinfo import ZoneInfo

from aiohttp import web
from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry

import service
from service.alerting.desk import AlertDesk
from service.alerting.metrics import AlertMetrics
from service.alerting.rendering import Rendering
from service.backup import assembly as backup_assembly
from service.backup.assembly import BackupParts
from service.backup.custody import Hurdle
from service.backup.custody_postgres import PostgresCustody
from service.backup.guarded_lease import GuardedLease
from service.backup.scheduler import Scheduler
from service.bot.bot import Bot
from service.bot.builtin import add_builtin_commands
from service.bot.metrics import BotMetrics
from service.bot.plugins import load_plugins
from service.bot.router import Router
from service.clock import Clock, OutsideClock, SystemClock
from service.config import SessionStore, Settings
from service.datadir import DataDir
from service.engine.metrics import EngineMetrics
from service.engine.notebook import Notebook
from service.engine.process import EngineProcess
from service.engine.protocol import AnyEvent, MessageReceived, Receipt
from service.engine.session import SessionFile
from service.engine.session_postgres import PostgresSession
from service.keepalive import KeepAlive, KeepAliveMetrics
from service.queue.aftermath import Aftermath
from service.queue.dispatcher import Dispatcher
from service.queue.files import OutgoingFiles
from service.queue.metrics import QueueMetrics
from service.queue.move import left_behind
from service.queue.outbox import Outbox
from service.queue.pace.contract import Pacer, Unpaced
from service.queue.pace.ears import Ears
from service.queue.pace.limits import Limits
from service.queue.pace.metrics import PaceMetrics
from service.queue.pace.pacer import Paced
from service.queue.postgres import PostgresStore
from service.queue.sqlite import SqliteStore
from service.queue.store import QueueStore
from service.reconnect.backoff import Backoff
from service.reconnect.deadlines import DeadlineFile
from service.reconnect.lease import Lease, LocalLease
from service.reconnect.lease_metrics import Hindrance, LeaseMetrics
from service.reconnect.lease_postgres import PostgresLease
from service.reconnect.memory import container_limit, engine_share
from service.reconnect.metrics import ReconnectMetrics
from service.reconnect.presence import DailyPresence, PresenceMetrics
from service.reconnect.probe import Probe
from service.reconnect.status import State, Status
from service.reconnect.supervisor import Supervisor
from service.telemetry import logging, tracing
from service.telemetry.bound import Bound, BoundMetrics
from service.telemetry.pseudonym import Pseudonyms
from service.telemetry.push import settings as push_settings
from service.telemetry.push.metrics import PushMetrics
from service.telemetry.push.push import Push
from service.telemetry.registry import build_registry
from service.telemetry.runtime import RuntimeMetrics, Watch
from service.web.application import build
from service.web.health import Health
from service.web.metrics import WebMetrics

MB: Final = 1_000_000

SECRET_VARIABLES = frozenset(
    {
        "ALERTS_TOKEN",
        "API_TOKEN",
        "BACKUP_KEYS",
        "DATABASE_URL",
        "KEEP_ALIVE_URL",
        "METRICS_TOKEN",
        *push_settings.SECRET_VARIABLES,
    }
)

HURDLES = {
    Hurdle.VAULT_UNREACHABLE: Hindrance.VAULT_UNREACHABLE,
    Hurdle.BACKUP_UNREADABLE: Hindrance.BACKUP_UNREADABLE,
    Hurdle.BACKUP_KEY_MISSING: Hindrance.BACKUP_KEY_MISSING,
    Hurdle.DISK: Hindrance.DATA_DIR,
    Hurdle.SESSION_UNREACHABLE: Hindrance.UNREACHABLE,
    Hurdle.SESSION_REFUSED: Hindrance.REFUSED,
}


@dataclass(frozen=True, slots=True)
class EngineCommand:
    """How the engine is started: its argv and what it finds in its environment beside ours."""

    entry: Sequence[str] = (sys.executable, "-m", "service.engine.child")
    environment: Mapping[str, str] = field(default_factory=dict)

    def full_environment(self) -> dict[str, str]:
        """Our environment without what the engine has no use for and must not leak."""
        return {k: v for k, v in os.environ.items() if k not in SECRET_VARIABLES} | dict(self.environment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """All components, wired."""

    settings: Settings
    supervisor: Supervisor
    dispatcher: Dispatcher
    bot: Bot
    backup: BackupParts | None
    """None with BACKUP_ENABLED=false."""
    chores: Mapping[str, Callable[[], Coroutine[Any, Any, None]]]
    """What is done beside, by name, until the service stops; no stop waits for it."""
    health: Health
    http: web.Application
    push: Push
    registry: CollectorRegistry


@asynccontextmanager
async def assembled(settings: Settings, data: DataDir, engine: EngineCommand) -> AsyncIterator[Parts]:
    """All components, the queue's store opened; nothing runs yet.

    Raises StoreError, PluginError, BackupError.
    """
    account, clock, rng = settings.account, SystemClock(), SystemRandom()
    registry = build_registry(account)
    logging.count_into(logging.LogMetrics(registry, account))
    resource = tracing.resource_of(account)
    push = Push(
        push_settings.read(os.environ),
        registry=registry,
        resource=resource,
        metrics=PushMetrics(registry, account),
        clock=clock,
        rng=rng,
    )
    tracer = tracing.build_provider(resource, push.spans).get_tracer("beacon", service.__version__)
    pseudonyms = Pseudonyms(data.secret("pseudonym.key"))

    session = backup_assembly.session_of(settings, data.session)
    backup = backup_assembly.build(settings, session=session, registry=registry, clock=clock, tracer=tracer)
    if backup is not None:
        await backup.custody.clear_the_way()
    lease = _lease(settings, data, LeaseMetrics(registry, account), session, backup, clock=clock)
    engine_metrics = EngineMetrics(registry, account)
    watch = Watch(
        RuntimeMetrics(registry, account, limit_bytes=_memory_bytes(settings)),
        clock=clock,
        engine_bytes=lambda: engine_metrics.resident_bytes,
    )
    supervisor = _connection(
        settings,
        session,
        engine,
        registry,
        tracer,
        lease=lease,
        clock=clock,
        rng=rng,
        engine_metrics=engine_metrics,
    )
    queue_metrics = QueueMetrics(registry, account)
    store = _store(settings, data, queue_metrics, clock=clock)
    await store.open()
    try:
        notebook = Notebook(session.path)
        await Aftermath(store=store, notebook=notebook, clock=clock, metrics=queue_metrics).settle()
        pacer = _pacer(settings, store, registry, clock=clock, rng=rng)
        queue_metrics.paced_by(pacer.held_s)
        ears = Ears(pacer)
        dispatcher = Dispatcher(
            store=store,
            send=supervisor.send,
            find_message_id=session.find_message_id,
            session_identity=session.identity,
            files=OutgoingFiles(data.path / "outgoing", read=store.file),
            pacer=pacer,
            worker=str(os.getpid()),
            unknown_wait_s=settings.unknown_wait,
            clock=clock,
            rng=rng,
            metrics=queue_metrics,
            tracer=tracer,
            pseudonyms=pseudonyms,
        )
        outbox = Outbox(
            store=store,
            wake=dispatcher.wake,
            clock=clock,
            metrics=queue_metrics,
            tracer=tracer,
            bound=Bound(settings.trace_messages_per_second, clock=clock),
            bound_metrics=BoundMetrics(registry, account),
        )
        alerts = AlertDesk(
            chats=settings.alert_chats,
            rendering=Rendering(zone=_zone(settings) or UTC, own=settings.alert_template),
            enqueue=outbox.enqueue,
            clock=clock,
            metrics=AlertMetrics(registry, account),
        )
        router = _commands(settings, supervisor, outbox, backup, clock)
        bot = Bot(
            router=router,
            enqueue=outbox.enqueue,
            admins=settings.bot_admins,
            metrics=BotMetrics(registry, account, commands=[command.name for command in router]),
            tracer=tracer,
            pseudonyms=pseudonyms,
            clock=clock,
        )
        _introduce(supervisor, dispatcher, bot, ears)
        if backup is not None:
            _introduce_backups(supervisor, backup.scheduler)
        health = Health(
            clock=clock,
            started_at=clock.now(),
            heartbeat_age_s=lambda: clock.monotonic() - dispatcher.heartbeat_at,
            store_trouble=store.trouble,
            status=lambda: supervisor.status,
            engine=lambda: supervisor.engine,
            counts=outbox.counts,
            oldest_queued_at=outbox.oldest_queued_at,
            held_back=pacer.sentence,
            backup=lambda: backup_assembly.OFF if backup is None else backup.desk.status(),
            backup_interval_s=settings.backup_interval * 60.0,
            notes=(*_notes(settings, data, backup), *push.notes),
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
            alerts=alerts,
            backups=None if backup is None else backup.desk,
        )
        yield Parts(
            settings=settings,
            supervisor=supervisor,
            dispatcher=dispatcher,
            bot=bot,
            backup=backup,
            chores=_chores(settings, supervisor, registry, backup, clock=clock, rng=rng)
            | {"ears": ears.run, "watch": watch.run, "push": push.run},
            health=health,
            http=application,
            push=push,
            registry=registry,
        )
    finally:
        await store.close()
        if backup is not None:
            await backup.home.close()
            await backup.vault.close()


def _store(settings: Settings, data: DataDir, metrics: QueueMetrics, *, clock: Clock) -> QueueStore:
    if settings.database_url is None:
        return SqliteStore(data.queue, account=settings.account, metrics=metrics, clock=clock)
    url = settings.database_url.get_secret_value()
    return PostgresStore(url, account=settings.account, metrics=metrics, clock=clock)


def _pacer(
    settings: Settings, store: QueueStore, registry: CollectorRegistry, *, clock: Clock, rng: Random
) -> Pacer:
    metrics = PaceMetrics(registry, settings.account)
    if not settings.pacing:
        return Unpaced()
    return Paced(limits=Limits.of(settings), store=store, clock=clock, rng=rng, metrics=metrics)


def _lease(
    settings: Settings,
    data: DataDir,
    metrics: LeaseMetrics,
    session: SessionFile | PostgresSession,
    backup: BackupParts | None,
    *,
    clock: Clock,
) -> Lease:
    lease = _bare_lease(settings, data, metrics, clock=clock)
    if backup is not None:
        return GuardedLease(lease, backup.custody, hindrances=HURDLES, show=metrics.hindered)
    if isinstance(session, PostgresSession):
        custody = PostgresCustody(backup_assembly.home_of(settings, session), clock=clock)
        return GuardedLease(lease, custody, hindrances=HURDLES, show=metrics.hindered)
    return lease


def _bare_lease(settings: Settings, data: DataDir, metrics: LeaseMetrics, *, clock: Clock) -> Lease:
    if settings.database_url is None:
        return LocalLease(data.path / "lease", clock=clock, metrics=metrics)
    url = settings.database_url.get_secret_value()
    return PostgresLease(url, account=settings.account, clock=OutsideClock(), metrics=metrics)


def _connection(
    settings: Settings,
    session: SessionFile | PostgresSession,
    engine: EngineCommand,
    registry: CollectorRegistry,
    tracer: Tracer,
    *,
    lease: Lease,
    clock: Clock,
    rng: Random,
    engine_metrics: EngineMetrics,
) -> Supervisor:
    proxy = settings.whatsapp_proxy.get_secret_value() if settings.whatsapp_proxy else None

    limit_mb = settings.memory_limit_mb

    def spawn(on_event: Callable[[AnyEvent], None]) -> EngineProcess:
        return EngineProcess(
            entry=engine.entry,
            environment=engine.full_environment(),
            on_event=on_event,
            metrics=engine_metrics,
            clock=clock,
            session_dsn=session.dsn if isinstance(session, PostgresSession) else None,
        )

    return Supervisor(
        spawn=spawn,
        session=session,
        lease=lease,
        memory_limit_bytes=engine_share(_memory_bytes(settings)) if limit_mb is None else limit_mb * MB,
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


def _memory_bytes(settings: Settings) -> int | None:
    return container_limit() if settings.memory_mb is None else settings.memory_mb * MB


def _commands(
    settings: Settings, supervisor: Supervisor, outbox: Outbox, backup: BackupParts | None, clock: Clock
) -> Router:
    router = Router(prefix=settings.bot_prefix)
    add_builtin_commands(
        router,
        status=lambda: supervisor.status,
        counts=outbox.counts,
        last_backup_at=lambda: None if backup is None else backup.backups.status().last_success_at,
        clock=clock,
        zone=_zone(settings),
    )
    load_plugins(router, settings.bot_plugins)
    return router


def _zone(settings: Settings) -> ZoneInfo | None:
    return ZoneInfo(settings.tz) if settings.tz else None


def _chores(
    settings: Settings,
    supervisor: Supervisor,
    registry: CollectorRegistry,
    backup: BackupParts | None,
    *,
    clock: Clock,
    rng: Random,
) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
    presence = DailyPresence(
        tell=supervisor.presence, clock=clock, rng=rng, metrics=PresenceMetrics(registry, settings.account)
    )
    supervisor.subscribe(presence.on_status)
    chores = {"presence": presence.run}
    if backup is not None:
        chores["backups"] = backup.scheduler.run
    metrics = KeepAliveMetrics(registry, settings.account)
    if settings.keep_alive_url is not None:
        url = settings.keep_alive_url.get_secret_value()
        chores["keep alive"] = KeepAlive(url, clock=clock, rng=rng, metrics=metrics).run
    return chores


def _introduce(supervisor: Supervisor, dispatcher: Dispatcher, bot: Bot, ears: Ears) -> None:
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
                ears.receive(event)
                bot.receive(event)

    supervisor.subscribe(on_status)
    supervisor.listen(on_event)


def _introduce_backups(supervisor: Supervisor, scheduler: Scheduler) -> None:
    """What is kept of a session that is unlinked comes back no more."""

    def on_status(status: Status) -> None:
        if status.state is State.LOGGED_OUT:
            scheduler.logged_out()

    supervisor.subscribe(on_status)
    supervisor.listen(scheduler.hear)


def _notes(settings: Settings, data: DataDir, backup: BackupParts | None) -> tuple[str, ...]:
    in_database = settings.session_store is SessionStore.POSTGRES
    if backup is not None:
        notes = [*backup.notes]
    elif in_database:
        notes = ["BACKUP_ENABLED=false: the session is lost with the database, unless that is backed up."]
    else:
        notes = ["BACKUP_ENABLED=false: the session is lost with DATA_DIR."]
    if in_database and data.session.exists():
        notes.append("There is a session in DATA_DIR that is not used; SESSION_STORE=file would use it.")
    if settings.database_url is not None and (left := left_behind(data.queue, settings.account)):
        notes.append(
            f"{left} messages are left in the queue of DATA_DIR: stop the service and run "
            "`beacon queue move --to postgres`."
        )
    return tuple(notes)

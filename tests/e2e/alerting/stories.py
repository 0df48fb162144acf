"""What is made to go wrong, for every alert: one story for each account, all at the same time.

A story makes a fault, waits until people are told, heals it, and waits until they are told that it is over.
"""

import asyncio
import resource
import shutil
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import psutil

from service.demo.check import pair
from service.demo.people import BEACON
from service.engine.protocol import EventsDropped
from service.simulator.accounts import Account as Phone
from tests.e2e.alerting.stage import Account, Stage, beside
from tests.ports import free_port

Story = Callable[[Stage, Account], Coroutine[Any, Any, None]]

DAY_S: Final = 86_400.0
NOTIFICATION: Final = {
    "version": "4",
    "groupKey": "{}:{}",
    "status": "firing",
    "receiver": "people",
    "groupLabels": {},
    "commonLabels": {},
    "commonAnnotations": {},
    "externalURL": "http://localhost:9093",
    "alerts": [],
}
HELD_UP_S: Final = 1.7
RUNS_S: Final = 1.3


async def line(stage: Stage, bot: Account) -> None:
    """The way to WhatsApp is cut; the disk gets full; nobody is there to be told of alerts; more is handed in
    than pacing lets out."""
    faults = bot.simulator.faults
    faults.refuse()
    faults.cut(BEACON)
    await stage.fires("WhatsAppDisconnected", bot.name)
    faults.heal()
    await stage.resolves("WhatsAppDisconnected", bot.name)

    async with _full_disk(bot):
        await stage.fires("WhatsAppStoreFails", bot.name)
    await stage.resolves("WhatsAppStoreFails", bot.name)

    assert await bot.post("/api/v1/alerts", NOTIFICATION) != 200
    await stage.fires("WhatsAppAlertsNotTold", bot.name)
    await pace(stage, bot)
    await stage.resolves("WhatsAppAlertsNotTold", bot.name)


async def phone(stage: Stage, bot: Account) -> None:
    """Everything that WhatsApp can say to end a session, one after the other."""
    faults, account = bot.simulator.faults, bot.simulator.accounts[BEACON]
    for logins in range(account.logins + 1, account.logins + 9):
        faults.end("restarting_soon", BEACON)
        await bot.simulator.wait_for(partial(_logged_in, account, logins))
        await bot.connected()
    await stage.fires("WhatsAppReconnectStorm", bot.name)

    for ending, state, alert in (
        ("temporary_ban_101", "banned", "WhatsAppBanned"),
        ("outdated", "outdated", "WhatsAppOutdated"),
    ):
        faults.end_login(ending, BEACON)
        faults.cut(BEACON)
        await bot.state(state)
        await stage.fires(alert, bot.name)
        await bot.restarts_connection()
        await bot.connected()
        await stage.resolves(alert, bot.name)

    faults.end("replaced", BEACON)
    await stage.fires("WhatsAppReplaced", bot.name)
    await bot.restarts_connection()
    await bot.connected()
    await stage.resolves("WhatsAppReplaced", bot.name)

    faults.end("device_removed", BEACON)
    await stage.fires("WhatsAppLoggedOut", bot.name)
    await bot.restarts_connection()
    await stage.resolves("WhatsAppLoggedOut", bot.name)
    await stage.fires("WhatsAppNotLinked", bot.name)
    await pair(bot.host, bot.simulator)
    await stage.resolves("WhatsAppNotLinked", bot.name)
    await stage.resolves("WhatsAppReconnectStorm", bot.name)


async def deaf(stage: Stage, bot: Account) -> None:
    """It has been deaf since it was linked, and asks WhatsApp twice before it knows."""
    await stage.fires("WhatsAppDeaf", bot.name)
    await bot.connected()
    await stage.resolves("WhatsAppDeaf", bot.name)


async def letters(stage: Stage, bot: Account) -> None:
    """Messages that are refused, held, lost on the way, and never confirmed."""
    await bot.writes(24)
    now = time.time()
    (held,) = await bot.writes(1, not_before=now + DAY_S, expires_at=now + 2 * DAY_S)
    assert await bot.post(f"/api/v1/messages/{held}/hold") == 200
    await stage.fires("WhatsAppHeldMessages", bot.name)
    await bot.cancels([held])
    await stage.fires("WhatsAppUnconfirmedDeliveries", bot.name)

    bot.simulator.faults.swallow_messages(BEACON, times=1)
    await bot.writes(1)
    await bot.simulator.wait_for(lambda: bot.simulator.accounts[BEACON].swallowed == 1)
    bot.host.kill_engine()
    await stage.fires("WhatsAppUnknownOutcomes", bot.name)
    await refused(stage, bot)
    await stage.resolves("WhatsAppHeldMessages", bot.name)
    await stage.resolves("WhatsAppUnknownOutcomes", bot.name)
    await stage.resolves("WhatsAppUnconfirmedDeliveries", bot.name)


async def refused(stage: Stage, bot: Account) -> None:
    """WhatsApp refuses every message, as long as it takes to burn what the objective allows."""
    bot.simulator.faults.nack(400, BEACON, times=None)
    async with beside(lambda: bot.writes(2), every_s=0.5):
        await stage.fires("WhatsAppMessagesGivenUp", bot.name)
        await stage.fires("WhatsAppSendsFail", bot.name)
        await stage.fires("WhatsAppDeliveryBudgetBurnsFast", bot.name)
    bot.simulator.faults.heal()
    await stage.resolves("WhatsAppDeliveryBudgetBurnsFast", bot.name)
    await stage.resolves("WhatsAppSendsFail", bot.name)
    await stage.resolves("WhatsAppMessagesGivenUp", bot.name)
    await stage.fires("WhatsAppDeliveryBudgetBurnsSlowly", bot.name)
    await stage.resolves("WhatsAppDeliveryBudgetBurnsSlowly", bot.name)


async def engine(stage: Stage, bot: Account) -> None:
    """The client crashes, the process starves, and its memory is small."""

    async def kill() -> None:
        bot.host.kill_engine()

    async with beside(kill, every_s=1.0):
        await stage.fires("WhatsAppEngineCrashLoop", bot.name)
    await bot.restarts_connection()
    await bot.connected()

    async with _starved(bot.host.process):
        await stage.fires("WhatsAppEventLoopLags", bot.name)
    await stage.resolves("WhatsAppEventLoopLags", bot.name)

    nobody = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    await bot.restarts(MEMORY_MB="128", OTEL_METRIC_EXPORT_INTERVAL="1000", **nobody)
    await stage.fires("WhatsAppMemoryNearLimit", bot.name)
    await stage.fires("WhatsAppTelemetryLost", bot.name)
    await bot.restarts(MEMORY_MB="100000", OTEL_EXPORTER_OTLP_ENDPOINT="")
    await stage.resolves("WhatsAppMemoryNearLimit", bot.name)
    await stage.resolves("WhatsAppTelemetryLost", bot.name)
    await stage.resolves("WhatsAppEngineCrashLoop", bot.name)


async def pace(stage: Stage, bot: Account) -> None:
    """WhatsApp asks for fewer messages, and more are handed in than pacing lets out."""
    await bot.restarts(PACING="on", SEND_RATE="0.1", SEND_BURST="1")
    bot.simulator.faults.nack(463, BEACON)
    ids = await bot.writes(1010)
    await stage.fires("WhatsAppCoolingDown", bot.name)
    await stage.fires("WhatsAppQueueDeep", bot.name)
    await stage.fires("WhatsAppOldestMessageWaits", bot.name)
    await bot.cancels(ids)
    await stage.resolves("WhatsAppQueueDeep", bot.name)
    await stage.resolves("WhatsAppOldestMessageWaits", bot.name)
    await stage.resolves("WhatsAppCoolingDown", bot.name)


async def vault(stage: Stage, bot: Account) -> None:
    """What keeps the backups is damaged and goes away; the session is spoiled, and then lost."""
    session, place = bot.folder / "service" / "session.db", bot.folder / "place"
    away = place.with_name("away")

    with _second_device(session):
        await bot.post("/api/v1/backups")
    await stage.fires("WhatsAppBackupRefused", bot.name)

    with _damaged(place):
        assert await bot.post("/api/v1/backups/newest/verify") != 200
        await stage.fires("WhatsAppBackupUnreadable", bot.name)

    place.rename(away)
    await stage.fires("WhatsAppBackupStale", bot.name)
    await stage.fires("WhatsAppBackupUnverified", bot.name)
    away.rename(place)
    await stage.resolves("WhatsAppBackupStale", bot.name)
    await stage.resolves("WhatsAppBackupUnverified", bot.name)

    await bot.host.kill()
    await stage.fires("WhatsAppTargetDown", bot.address)
    place.rename(away)
    await bot.host.start()
    await stage.resolves("WhatsAppTargetDown", bot.address)
    await stage.fires("WhatsAppLeaseHindered", bot.name)
    await stage.mutes("WhatsAppDisconnected", bot.name)
    await bot.connected()
    await stage.resolves("WhatsAppLeaseHindered", bot.name)
    await stage.fires("WhatsAppBackupUnprotected", bot.name)
    away.rename(place)
    await stage.resolves("WhatsAppBackupUnprotected", bot.name)

    assert await bot.post("/api/v1/backups") == 200
    await bot.host.kill()
    shutil.rmtree(bot.folder / "service")
    await bot.host.start()
    await bot.connected()
    await stage.fires("WhatsAppSessionRestored", bot.name)
    await stage.resolves("WhatsAppSessionRestored", bot.name)
    await stage.resolves("WhatsAppBackupRefused", bot.name)
    await stage.resolves("WhatsAppBackupUnreadable", bot.name)


async def exporter(stage: Stage) -> None:
    """Two faults that cannot be made from outside: a dispatcher that dies takes the service with it, and ten
    thousand receipts do not come faster than the store takes them."""
    stage.engine.event(EventsDropped(count=12), at=time.time())
    stage.queue.beat(time.time() - 60.0)
    await stage.fires("WhatsAppDispatcherStuck", "exporter")
    await stage.fires("WhatsAppEventsLost", "exporter")

    async def beat() -> None:
        stage.queue.beat(time.time())

    async with beside(beat, every_s=1.0):
        await stage.resolves("WhatsAppDispatcherStuck", "exporter")
    stage.queue.beat(0.0)
    await stage.resolves("WhatsAppEventsLost", "exporter")


STORIES: Final[Mapping[str, Story]] = MappingProxyType(
    {
        "line": line,
        "phone": phone,
        "deaf": deaf,
        "letters": letters,
        "engine": engine,
        "vault": vault,
    }
)


def _logged_in(phone: Phone, times: int) -> bool:
    return phone.logins >= times


@asynccontextmanager
async def kept_well(bot: Account) -> AsyncIterator[None]:
    """Backups and their checks as often as six hours are 15 s: the service's own clock is not scaled."""

    async def keep() -> None:
        await bot.post("/api/v1/backups")
        await bot.post("/api/v1/backups/newest/verify")

    async with beside(keep, every_s=4.0):
        yield


@asynccontextmanager
async def _full_disk(bot: Account) -> AsyncIterator[None]:
    """No file of the service may grow any more; its engine may write."""
    pid, size = bot.host.process.pid, (bot.folder / "service" / "queue.db-wal").stat().st_size
    free = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, free[1]))
    letter = {"to": BEACON, "text": "x" * 8000}
    try:
        async with beside(lambda: bot.post("/api/v1/messages", letter), every_s=0.05):
            yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, free)


@asynccontextmanager
async def _starved(process: psutil.Process) -> AsyncIterator[None]:
    """It gets to run for a moment every three seconds."""

    async def starve() -> None:
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(HELD_UP_S)
        process.send_signal(signal.SIGCONT)

    try:
        async with beside(starve, every_s=RUNS_S):
            yield
    finally:
        process.send_signal(signal.SIGCONT)


@contextmanager
def _second_device(session: Path) -> Iterator[None]:
    """The session has a device that is not its own."""
    with closing(sqlite3.connect(session, timeout=10.0, isolation_level=None)) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(whatsmeow_device)")]
        others = ", ".join(column for column in columns if column != "jid")
        database.execute(
            f"INSERT INTO whatsmeow_device (jid, {others}) "
            f"SELECT '1.0:1@s.whatsapp.net', {others} FROM whatsmeow_device"
        )
        try:
            yield
        finally:
            database.execute("DELETE FROM whatsmeow_device WHERE jid = '1.0:1@s.whatsapp.net'")


@contextmanager
def _damaged(place: Path) -> Iterator[None]:
    """Every byte of the backups is another one."""
    written = (path for path in place.rglob("*") if ".new" not in path.name)
    files = [path for path in written if path.is_file() and path.stat().st_size > 64]
    assert files
    before = {path: path.read_bytes() for path in files}
    for path, content in before.items():
        path.chmod(0o600)
        path.write_bytes(bytes(255 - byte for byte in content))
    try:
        yield
    finally:
        for path, content in before.items():
            path.write_bytes(content)

"""Where the alerts are played: services on simulators, one Prometheus, one Alertmanager, one inbox."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence, Set
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import aiohttp
import yaml
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler

from service.demo.host import Host
from service.engine.metrics import EngineMetrics
from service.queue.metrics import QueueMetrics
from service.simulator.server import Simulator
from tests.alertmanager import Alertmanager, Inbox, Told
from tests.e2e.alerting import scaled
from tests.ports import free_port
from tests.prometheus import Prometheus, Target

TOKEN: Final = "of-the-alerts-only"
ALWAYS: Final = "WhatsAppWatchdog"
FIRES_S: Final = 120.0
RESOLVES_S: Final = 150.0
POLL_S: Final = 0.1

EMPTY: Final[Mapping[str, object]] = MappingProxyType({})

DOWNTOWN: Final = "15550000099"
"""Somebody who has a phone and never takes it up: sent to, never delivered."""


@dataclass
class Account:
    """A service of one account, alone on a simulator."""

    name: str
    host: Host
    simulator: Simulator
    folder: Path

    @property
    def address(self) -> str:
        """HOST:PORT, which is its `instance` in Prometheus."""
        return self.host.url.removeprefix("http://")

    async def post(self, path: str, body: Mapping[str, object] = EMPTY) -> int:
        """The status of a POST; 0 when nobody answers."""
        try:
            async with (
                aiohttp.ClientSession(self.host.url) as http,
                http.post(path, json=dict(body)) as response,
            ):
                await response.read()
                return response.status
        except aiohttp.ClientError:
            return 0

    async def writes(self, count: int, *, to: str = DOWNTOWN, **more: object) -> list[str]:
        """Hand in so many messages."""
        ids: list[str] = []
        for first in range(0, count, 100):
            texts = range(first, min(first + 100, count))
            ids += await self.host.post([{"to": to, "text": f"number {n}", **more} for n in texts])  # type: ignore[dict-item]
        return ids

    async def cancels(self, ids: Sequence[str]) -> None:
        """Take these messages back."""
        async with aiohttp.ClientSession(self.host.url) as http:
            answers = await asyncio.gather(*(http.delete(f"/api/v1/messages/{message}") for message in ids))
            for answer in answers:
                answer.release()

    async def connected(self) -> None:
        """Wait for it."""
        await self.host.until(lambda session: session["state"] == "connected")

    async def state(self, state: str) -> None:
        """Wait for it."""
        await self.host.until(lambda session: session["state"] == state)

    async def restarts_connection(self) -> None:
        """What `beacon session restart` asks."""
        assert await self.post("/api/v1/session/restart") == 202

    async def restarts(self, **environment: str) -> None:
        """A new process with other settings, connected."""
        await self.host.stop()
        self.host.environment |= environment
        await self.host.start()
        await self.connected()


@dataclass
class Stage:
    """What all accounts share; an exporter serves `queue` and `engine`, which no fault from outside moves."""

    prometheus: Prometheus
    alertmanager: Alertmanager
    inbox: Inbox
    queue: QueueMetrics
    engine: EngineMetrics
    _seen: int = 0

    def forgets(self) -> None:
        """What was told until now belongs to an earlier scene."""
        self._seen = len(self.inbox.told)

    def told(self, alert: str, status: str, who: str | None) -> Told | None:
        """The first notification of that kind on the channel of WhatsApp messages; `who` is an account, or an
        instance, or None for an alert that names neither."""
        return next(
            (
                one
                for one in self.inbox.told[self._seen :]
                if one.channel == "beacon"
                and (one.labels["alertname"], one.status) == (alert, status)
                and who in (one.labels.get("account"), one.labels.get("instance"))
            ),
            None,
        )

    async def fires(self, alert: str, who: str | None) -> Told:
        """Wait until people have been told that it fires."""
        return await self._heard(alert, "firing", who, FIRES_S)

    async def resolves(self, alert: str, who: str | None) -> Told:
        """Wait until people have been told that it is over."""
        return await self._heard(alert, "resolved", who, RESOLVES_S)

    async def mutes(self, alert: str, account: str) -> None:
        """Wait until that alert fires and nobody is told, because another one says why."""
        async with asyncio.timeout(FIRES_S):
            while not any(
                (one["alertname"], one.get("account")) == (alert, account)
                for one in await self.alertmanager.muted()
            ):
                await asyncio.sleep(POLL_S)

    async def firing(self) -> set[tuple[str, str]]:
        """Alerts that fire now, with their accounts."""
        return await self._in_state({"firing"})

    async def stirring(self) -> set[tuple[str, str]]:
        """The same, with those that may fire soon."""
        return await self._in_state({"firing", "pending"})

    async def _in_state(self, states: Set[str]) -> set[tuple[str, str]]:
        return {
            (alert["labels"]["alertname"], alert["labels"].get("account", ""))
            for alert in await self.prometheus.alerts()
            if alert["state"] in states and alert["labels"]["alertname"] != ALWAYS
        }

    async def _heard(self, alert: str, status: str, account: str | None, patience_s: float) -> Told:
        try:
            async with asyncio.timeout(patience_s):
                while (found := self.told(alert, status, account)) is None:
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            now = sorted(await self.firing())
            raise AssertionError(
                f"nobody was told within {patience_s:.0f} s that {alert} of {account} is {status}; "
                f"firing are {now}"
            ) from None
        return found


@asynccontextmanager
async def account(name: str, folder: Path, **settings: str) -> AsyncIterator[Account]:
    """A service that is not started yet, and a simulator of its own."""
    folder.mkdir()
    (folder / "place").mkdir()  # what keeps backups, for those that make any
    async with Simulator(folder, port=free_port()) as simulator:
        simulator.register(DOWNTOWN)
        environment = {
            **simulator.environment(),
            "ACCOUNT": name,
            "BACKUP_ENABLED": "false",
            **{key.upper(): value for key, value in settings.items()},
        }
        yield Account(name, Host(folder, environment, quiet=True), simulator, folder)


@asynccontextmanager
async def stage(folder: Path, accounts: Sequence[Account]) -> AsyncIterator[Stage]:
    """Prometheus and Alertmanager, before any service runs."""
    registry = CollectorRegistry()
    queue, engine = QueueMetrics(registry, "exporter"), EngineMetrics(registry, "exporter")
    token_file, rules = folder / "token", folder / "rules.yml"
    token_file.write_text(TOKEN)
    rules.write_text(yaml.safe_dump(scaled.rules(), width=10_000))
    async with AsyncExitStack() as stack:
        exporter = await stack.enter_async_context(_exporter(registry))
        inbox = await stack.enter_async_context(Inbox())
        config = scaled.alertmanager(inbox.url, token_file=str(token_file))
        alertmanager = await stack.enter_async_context(Alertmanager(config))
        targets = [Target(one.address) for one in accounts]
        prometheus = await stack.enter_async_context(
            Prometheus(
                {"beacon": targets, "exporter": [Target(exporter)]},
                rules=[rules],
                alertmanagers=[alertmanager.address],
                scrape_interval_s=1.0,
                evaluation_interval_s=0.5,
                flags=["--rules.alert.resend-delay=5s"],  # a minute, and an Alertmanager may be found late
            )
        )
        yield Stage(prometheus, alertmanager, inbox, queue, engine)


@asynccontextmanager
async def beside(action: Callable[[], Awaitable[Any]], *, every_s: float) -> AsyncIterator[None]:
    """Do that again and again while the block runs."""

    async def again() -> None:
        while True:
            await action()
            await asyncio.sleep(every_s)

    task = asyncio.create_task(again())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def _exporter(registry: CollectorRegistry) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_get("/metrics", make_aiohttp_handler(registry))
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()

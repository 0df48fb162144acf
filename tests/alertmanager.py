"""A real Alertmanager of a test's own, on loopback, with a receiver that remembers what it is told."""

import asyncio
import shutil
import tempfile
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import yaml
from aiohttp import web

from tests.ports import free_port
from tests.prometheus import end_with_parent

PROGRAM: Final = "prometheus-alertmanager"
DEADLINE_S: Final = 30.0
POLL_S: Final = 0.1
STARTS: Final = 3


@dataclass(frozen=True, slots=True)
class Told:
    """One alert of a notification."""

    at: float
    """When it came, by the monotonic clock."""
    channel: str
    """The last part of the path that it came to."""
    authorization: str | None
    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass
class Inbox:
    """An HTTP server that takes Alertmanager's webhooks at /CHANNEL. Use as an async context manager."""

    told: list[Told] = field(default_factory=list)
    url: str = ""

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post("/{channel}", self._take)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        for alert in body["alerts"]:
            self.told.append(
                Told(
                    at=time.monotonic(),
                    channel=request.match_info["channel"],
                    authorization=request.headers.get("Authorization"),
                    status=alert["status"],
                    labels=alert["labels"],
                    annotations=alert["annotations"],
                )
            )
        return web.Response()


class Alertmanager:
    """`prometheus-alertmanager`, running with this configuration. Use as an async context manager."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return self.url.removeprefix("http://")

    async def __aenter__(self) -> Self:
        program = shutil.which(PROGRAM)
        assert program is not None, f"these tests need Debian's `{PROGRAM}` (.ci/run installs it)"
        self._folder = Path(tempfile.mkdtemp(prefix="beacon-alertmanager-"))
        self._log = self._folder / "log"
        (self._folder / "alertmanager.yml").write_text(yaml.safe_dump(dict(self._config)))
        try:
            for _ in range(STARTS):  # a port found free may be taken a moment later
                self.url = f"http://127.0.0.1:{free_port()}"
                self._process = await self._start(program)
                if await self._ready():
                    return self
            raise AssertionError(self._log.read_text())
        except BaseException:
            await self._end()
            shutil.rmtree(self._folder)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()
        shutil.rmtree(self._folder)

    async def muted(self) -> list[dict[str, Any]]:
        """The labels of alerts that another one mutes now."""
        async with (
            aiohttp.ClientSession(self.url) as http,
            http.get("/api/v2/alerts", params={"active": "false", "inhibited": "true"}) as response,
        ):
            response.raise_for_status()
            return [alert["labels"] for alert in await response.json() if alert["status"]["inhibitedBy"]]

    async def _start(self, program: str) -> Process:
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                program,
                f"--config.file={self._folder / 'alertmanager.yml'}",
                f"--storage.path={self._folder / 'data'}",
                f"--web.listen-address={self.address}",
                "--cluster.listen-address=",
                cwd=self._folder,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,
            )

    async def _ready(self) -> bool:
        async with asyncio.timeout(DEADLINE_S), aiohttp.ClientSession(self.url) as http:
            while self._process.returncode is None:
                try:
                    async with http.get("/-/ready") as response:
                        if response.status == 200:
                            return True
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(POLL_S)
        return False

    async def _end(self) -> None:
        if hasattr(self, "_process") and self._process.returncode is None:
            self._process.kill()  # nobody reads its data again
            await self._process.wait()

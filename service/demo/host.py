"""The service as a process of its own, seen as its users see it: through HTTP and signals."""

import asyncio
import json
import os
import secrets
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

from service.config import Settings
from service.errors import SimulatorError

STARTUP_S: Final = 60.0
POLL_S: Final = 0.05
PORTS: Final = range(10_000, 20_000)
"""Below those that a system gives to whoever connects: a service that was killed finds its own free again."""
SETTLED: Final = frozenset({"sent", "delivered", "read"})


PROGRAM: Final = (sys.executable, "-m", "service")


class Host:
    """`beacon demo --external` in a child process. Use as an async context manager.

    `program` is what stands for `beacon`. `environment` may be changed between two starts.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        *,
        quiet: bool,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.url = f"http://127.0.0.1:{_free_port()}"
        self._log = folder / "service.log"
        self._quiet = quiet
        self._program = program
        self.environment = {
            **{
                name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields
            },
            "PACING": "off",  # it is the simulator that is sent to
            **environment,
            "DATA_DIR": str(folder / "service"),
            "HOST": "127.0.0.1",
            "PORT": self.url.rpartition(":")[2],
        }
        self._process: asyncio.subprocess.Process | None = None
        self._http = aiohttp.ClientSession(self.url, timeout=aiohttp.ClientTimeout(total=30))

    async def __aenter__(self) -> "Host":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()
        await self.stop()

    async def start(self) -> None:
        """Start the process and wait until it answers. Raises SimulatorError with the end of its log."""
        await self.spawn()
        await self.until(lambda _: True, timeout_s=STARTUP_S)

    async def spawn(self) -> None:
        """Start the process and wait for nothing."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(*self._program, "demo", "--external"),
                env=self.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log if self._quiet else None,
                stderr=log if self._quiet else None,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops the service
            )

    async def stop(self) -> int:
        """SIGTERM, unless it has ended; the exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.terminate()
        return await self._process.wait()

    async def kill(self) -> None:
        """SIGKILL the whole service."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    @property
    def process(self) -> psutil.Process:
        """The service's own process."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def engines(self) -> list[psutil.Process]:
        """The child that owns neonize; none between two of them."""
        return self.process.children()

    def kill_engine(self) -> None:
        """SIGKILL the child that owns neonize."""
        for engine in self.engines():
            with suppress(psutil.NoSuchProcess):  # it was quicker
                engine.send_signal(signal.SIGKILL)

    def memory(self) -> tuple[int, int]:
        """Resident bytes of the service and of its engine."""
        return self.process.memory_info().rss, sum(engine.memory_info().rss for engine in self.engines())

    async def wait(self) -> int:
        """The exit code, once it has ended."""
        assert self._process is not None
        return await self._process.wait()

    async def post(self, messages: Sequence[Mapping[str, str]]) -> list[str]:
        """Hand in messages as one request; the ids of those that were accepted."""
        async with self._http.post("/api/v1/messages", json={"messages": messages}) as response:
            if response.status != 202:
                raise SimulatorError(f"the service answered {response.status}: {await response.text()}")
            return [message["id"] for message in (await response.json())["messages"]]

    async def metric(self, name: str) -> float:
        """The sum of a metric over all its labels, from GET /metrics; 0 for an unknown name."""
        async with self._http.get("/metrics") as response:
            response.raise_for_status()
            families = text_string_to_metric_families(await response.text())
            return sum(
                sample.value for family in families for sample in family.samples if sample.name == name
            )

    async def session(self) -> dict[str, Any]:
        """What GET /api/v1/session answers."""
        async with self._http.get("/api/v1/session") as response:
            response.raise_for_status()
            answer: dict[str, Any] = await response.json()
            return answer

    async def until_settled(self, ids: Sequence[str], *, timeout_s: float = 60.0) -> Counter[str]:
        """Wait until no message is left that could still go out; how many are in which state.

        Raises SimulatorError when some stay open.
        """
        states: dict[str, str] = {}
        try:
            async with asyncio.timeout(timeout_s):
                while open_ := [one for one in ids if states.get(one) not in SETTLED]:
                    for message_id in open_:
                        async with self._http.get(f"/api/v1/messages/{message_id}") as response:
                            response.raise_for_status()
                            states[message_id] = (await response.json())["state"]
                    await asyncio.sleep(POLL_S)
        except TimeoutError as error:
            counts = dict(Counter(states.values()))
            raise SimulatorError(f"after {timeout_s:.0f} s the messages are {counts}") from error
        return Counter(states.values())

    async def until(
        self, condition: Callable[[dict[str, Any]], bool], *, timeout_s: float = 60.0
    ) -> dict[str, Any]:
        """Ask for the session until the condition holds; raises SimulatorError when it does not."""
        last: dict[str, Any] = {}
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    if self._process is not None and self._process.returncode is not None:
                        raise SimulatorError(f"the service ended: {self.last_words()}")
                    try:
                        last = await self.session()
                    except aiohttp.ClientError:
                        last = {}
                    if last and condition(last):
                        return last
                    await asyncio.sleep(POLL_S)
        except TimeoutError as error:
            raise SimulatorError(
                f"after {timeout_s:.0f} s the service still says {json.dumps(last)}: {self.last_words()}"
            ) from error

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""


def is_free(port: int) -> bool:
    """Whether nobody listens at that port of 127.0.0.1."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    while not is_free(port := secrets.choice(PORTS)):
        pass
    return port

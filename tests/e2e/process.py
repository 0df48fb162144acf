"""Beacon as a process of its own, for tests that must see what a person or a platform sees."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from service.config import Settings
from tests.ports import free_port

DEADLINE_S = 60.0


@dataclass
class Beacon:
    """A running `beacon run` and an HTTP client for it."""

    process: asyncio.subprocess.Process
    http: aiohttp.ClientSession
    stderr: Path
    stdout: Path
    address: str

    async def get(self, path: str) -> tuple[int, Any]:
        """Status and decoded JSON of a GET."""
        async with self.http.get(path) as response:
            return response.status, json.loads(await response.read())

    async def post(self, path: str, body: object) -> tuple[int, Any]:
        """Status and decoded JSON of a POST."""
        async with self.http.post(path, json=body) as response:
            return response.status, json.loads(await response.read())

    async def until(self, path: str, condition: Callable[[Any], bool]) -> Any:
        """The JSON of a GET once it satisfies the condition."""
        last: Any = None
        async with asyncio.timeout(DEADLINE_S):
            while True:
                if self.process.returncode is not None:
                    raise AssertionError(
                        f"beacon ended ({self.process.returncode}): {self.stderr.read_text()}"
                    )
                try:
                    _, last = await self.get(path)
                except aiohttp.ClientError:
                    last = None
                if last is not None and condition(last):
                    return last
                await asyncio.sleep(0.05)

    async def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the exit code."""
        self.process.send_signal(number)
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()


def environment(**settings: str) -> dict[str, str]:
    """This process's environment with exactly these settings of Beacon, and PACING=off unless they say so:
    nobody bans us here."""
    inherited = {k: v for k, v in os.environ.items() if k.lower() not in Settings.model_fields}
    return {**inherited, "PACING": "off", **{name.upper(): value for name, value in settings.items()}}


@asynccontextmanager
async def beacon(
    folder: Path,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    preexec: Callable[[], None] | None = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Beacon]:
    """Start `beacon ARGUMENTS` (default: run) and wait until its HTTP port answers."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    stdout, stderr = folder / "stdout.txt", folder / "stderr.txt"
    with stdout.open("ab") as out, stderr.open("ab") as err:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", *(arguments or ("run",))),
            env={**environment(data_dir=str(folder / "data"), port=str(port)), **(env or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            preexec_fn=preexec,
        )
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as http:
        running = Beacon(process, http, stderr, stdout, address=f"127.0.0.1:{port}")
        try:
            await running.until("/livez", lambda _: True)
            yield running
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def run_to_end(
    *arguments: str, env: Mapping[str, str], cwd: Path | None = None
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a beacon command that ends by itself."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", *arguments),
        env=dict(env),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(110):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()

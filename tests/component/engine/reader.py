"""The test's side of a `recipient`: start it, read what it got, let it vote."""

import asyncio
import base64
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.engine.session import SessionFile
from service.simulator import library
from service.simulator.server import Simulator

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0

E2E = library.module("neonize.proto.waE2E.WAWebProtobufsE2E_pb2")


@dataclass(frozen=True)
class Got:
    """One message: its protobuf, the SHA-256 of the bytes downloaded for it, the options voted for."""

    message: Any
    downloaded: str | None
    votes: list[str] | None


class Reader:
    """A recipient that is connected."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._got: dict[str, Got] = {}
        self._last = ""

    async def got(self, message_id: str) -> Got:
        """The message of that id, waited for."""
        async with asyncio.timeout(PATIENCE_S):
            while message_id not in self._got:
                await self.hear()
        return self._got[message_id]

    async def next(self) -> Got:
        """The next message, whatever its id."""
        known = len(self._got)
        async with asyncio.timeout(PATIENCE_S):
            while len(self._got) == known:
                await self.hear()
        return self._got[self._last]

    async def hear(self) -> dict[str, Any]:
        """One line of JSON; Go's own lines are passed over."""
        assert self._process.stdout is not None
        while not (line := await self._process.stdout.readline()).startswith(b"{"):
            assert line, "the recipient ended"
        told: dict[str, Any] = json.loads(line)
        assert "error" not in told, told
        if "id" in told:
            self._last = told["id"]
            message = E2E.Message.FromString(base64.b64decode(told["message"]))
            self._got[told["id"]] = Got(message, told["downloaded"], told["votes"])
        return told

    async def vote(self, poll: str, *options: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\t".join(("vote", poll, *options)).encode() + b"\n")
        await self._process.stdin.drain()


@asynccontextmanager
async def reading(simulator: Simulator, session: SessionFile) -> AsyncIterator[Reader]:
    """A recipient on a paired session, until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.component.engine.recipient", str(session.path), simulator.proxy),
        env={**os.environ, "PYTHONPATH": str(ROOT), **simulator.environment()},
        stdin=PIPE,
        stdout=PIPE,
        limit=1 << 24,
    )
    reader = Reader(process)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while "connected" not in await reader.hear():
                continue
        yield reader
    finally:
        process.kill()
        await process.wait()
        assert process.stdin is not None
        process.stdin.close()

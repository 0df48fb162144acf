"""`beacon session` beside a running service: a phone is linked from the terminal, unlinked, linked again."""

import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.simulator.server import Simulator
from tests.e2e.process import DEADLINE_S, Beacon, beacon, environment, run_to_end
from tests.e2e.test_send import port_of
from tests.people import BEACON

SESSION = "/api/v1/session"


@dataclass
class Operator:
    """Somebody with a terminal beside the service, and the phone of the account."""

    running: Beacon
    simulator: Simulator
    env: dict[str, str]

    async def does(self, *arguments: str) -> tuple[int, str]:
        """Exit code and stdout of `beacon session ARGUMENTS`."""
        code, out, err = await run_to_end("session", *arguments, env=self.env)
        assert "Traceback" not in err
        return code, out

    async def state(self, state: str) -> None:
        await self.running.until(SESSION, lambda it: it["state"] == state)


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, process: asyncio.subprocess.Process, end: int) -> None:
        self._process = process
        self._end = end
        self._shown = bytearray()
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(end, self._read)

    def _read(self) -> None:
        try:
            more = os.read(self._end, 65536)
        except OSError:  # what Linux says once nobody has the other end
            more = b""
        if not more:
            asyncio.get_running_loop().remove_reader(self._end)
        self._shown += more
        self._more.set()

    async def shows(self, pattern: str) -> str:
        """The first match on the screen, once there is one."""
        async with asyncio.timeout(DEADLINE_S):
            while (found := re.search(pattern, self._shown.decode(errors="replace"))) is None:
                self._more.clear()
                await self._more.wait()
        return found[0]

    async def ends(self) -> int:
        async with asyncio.timeout(DEADLINE_S):
            return await self._process.wait()


@contextlib.asynccontextmanager
async def terminal(operator: Operator, *arguments: str) -> AsyncIterator[Terminal]:
    """`beacon session ARGUMENTS` on a terminal."""
    ours, theirs = os.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", "session", *arguments),
            env=operator.env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=theirs,
        )
        os.close(theirs)
        try:
            yield Terminal(process, ours)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    finally:
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)


@pytest.fixture
async def operator(tmp_path: Path) -> AsyncIterator[Operator]:
    async with (
        Simulator(tmp_path) as simulator,
        beacon(tmp_path / "beacon", "demo", "--external", env=simulator.environment()) as running,
    ):
        yield Operator(running, simulator, environment(port=await port_of(running.http)))


async def test_a_phone_is_linked_and_unlinked_from_the_terminal(operator: Operator) -> None:
    async with terminal(operator, "pair") as screen:
        await screen.shows("[█▀▄]{20}")
        shown = await operator.running.until(SESSION, lambda it: it["qr"] is not None)
        await operator.simulator.scan(shown["qr"]["text"], BEACON)
        await screen.shows(r"Connected\.")
        assert await screen.ends() == 0
    assert (await operator.does("status"))[0] == 0

    code, out = await operator.does("logout", "--yes", "--json")
    assert (code, json.loads(out)["state"]) == (0, "logged_out")
    assert operator.simulator.accounts[BEACON].devices == {}, "the phone does not list it any more"
    assert (await operator.does("status"))[0] == 1

    async with terminal(operator, "pair", f"+{BEACON}") as screen:
        typed = await screen.shows(r"\b\w{4}-\w{4}\b")
        await operator.simulator.enter_code(typed.replace("-", ""), BEACON)
        assert await screen.ends() == 0


async def test_a_cleared_session_is_linked_anew_or_left_alone(operator: Operator) -> None:
    shown = await operator.running.until(SESSION, lambda it: it["qr"] is not None)
    await operator.simulator.scan(shown["qr"]["text"], BEACON)
    before = await operator.running.until(SESSION, lambda it: it["state"] == "connected")

    assert (await operator.does("restart"))[0] == 0
    await operator.running.until(
        SESSION, lambda it: it["state"] == "connected" and it["since"] != before["since"]
    )

    assert (await operator.does("clear", "--yes"))[0] == 0
    await operator.state("pairing")

    async with operator.running.http.delete(f"{SESSION}/pair") as response:
        assert response.status == 202
    await operator.running.until(SESSION, lambda it: it["reason"] == "pairing_aborted")
    assert (await operator.does("logout", "--yes"))[0] == 65

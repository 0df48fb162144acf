"""Sends per second and memory: the whole service beside a bare neonize loop, in one run.

The WhatsApp server runs in this process, each client in its own. Rates are taken from the client's own
clock for the bare loop, and at the server (first to last message) for the service, whose clients only see
that a message was accepted.

The recipient is a real client. While it is away the server only acknowledges: that compares the two senders.
While it is there, its decrypting and its receipts, and the server's relaying of both, take their share of the
same cores, which outside a benchmark belong to other machines.
"""

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any, Final

from service.demo.check import pair
from service.demo.host import Host
from service.demo.people import BEACON, Contact, contact
from service.engine.session import SessionFile
from service.simulator.server import Simulator
from tests.bench.figures import mb, ratio, whole

ANN: Final = "15550000001"
BARE: Final = {"as_it_comes": "15550000011", "wal": "15550000012"}
BATCH: Final = 500

MEANING: Final = {
    "recipient_away": "the recipient's client is offline: the two senders compared",
    "recipient_there": "the recipient's client decrypts and confirms on the same cores",
    "sends_per_second": "each round: the service, a bare neonize loop, one with its database in WAL mode",
    "service_to_bare": "median over the rounds of the service's rate to the bare loop's; goal: at least 1.5",
    "service_to_bare_wal": "the same to the loop in WAL mode; goal: at least 0.95",
    "memory": "resident memory of the service's process and of its engine, idle and after so many messages",
}


class Bare:
    """The bare loop in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self, word: str) -> str:
        """What follows this word on the next line that starts with it."""
        assert self.process.stdout is not None
        while text := (await self.process.stdout.readline()).decode():
            if text.startswith(word):
                return text.removeprefix(word).strip()
        raise RuntimeError(f"the bare loop ended before it said {word}")

    async def send(self, count: int) -> float:
        """Send that many; messages per second."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{ANN} {count}\n".encode())
        return count / float(await self.line("DONE"))


async def start_bare(simulator: Simulator, folder: Path, name: str, phone: str) -> Bare:
    """A paired bare loop; with `wal` its database is put in that mode before its first start."""
    database = folder / f"bare-{name}.db"
    if name == "wal":
        SessionFile(database).prepare()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.bare", "--database", str(database), "--proxy", simulator.proxy),
        env={**os.environ, **simulator.environment()},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    bare = Bare(process)
    await simulator.scan(await bare.line("QR"), phone)
    await bare.line("CONNECTED")
    return bare


async def send_through(host: Host, simulator: Simulator, count: int) -> float:
    """Messages per second from the first to the last that the server took from the service."""
    account = simulator.accounts[BEACON]
    before = account.sent
    for start in range(0, count, BATCH):
        texts = range(start, min(start + BATCH, count))
        await host.post([{"to": ANN, "text": f"message {i}"} for i in texts])
    await simulator.wait_for(lambda: account.sent > before, timeout_s=60)
    first, at_first = time.perf_counter(), account.sent
    await simulator.wait_for(lambda: account.sent >= before + count, timeout_s=600)
    return (before + count - at_first) / (time.perf_counter() - first)


async def measure(folder: Path, *, sends: int, rounds: int, many: int) -> dict[str, Any]:
    """All figures of this benchmark, by name."""
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator(folder))
        host = await stack.enter_async_context(Host(folder, simulator.environment(), quiet=True))
        async with ann(simulator, folder):
            await pair(host, simulator)
            bare = {name: await start_bare(simulator, folder, name, phone) for name, phone in BARE.items()}
            idle = host.memory()
            for loop in bare.values():
                await loop.send(20)
            await send_through(host, simulator, 20)
            there = await _race(host, simulator, bare, sends=sends, rounds=rounds)
        away = await _race(host, simulator, bare, sends=sends, rounds=rounds)
        for loop in bare.values():
            loop.process.kill()
            await loop.process.wait()
        async with ann(simulator, folder):
            done = simulator.accounts[BEACON].sent
            await send_through(host, simulator, max(1, many - done))
            account = simulator.accounts[ANN]
            await simulator.wait_for(lambda: account.waiting == 0, timeout_s=600)
            after = host.memory()
        return {
            "meaning": MEANING,
            "recipient_away": away,
            "recipient_there": there,
            "memory": {
                "messages": simulator.accounts[BEACON].sent,
                "parent_mb_idle": mb(idle[0]),
                "engine_mb_idle": mb(idle[1]),
                "parent_mb_after": mb(after[0]),
                "engine_mb_after": mb(after[1]),
            },
        }


def ann(simulator: Simulator, folder: Path) -> AbstractAsyncContextManager[Contact]:
    """The recipient, online for as long as the context lasts."""
    return contact("Ann", ANN, simulator=simulator, folder=folder, heard=lambda: None)


async def _race(
    host: Host, simulator: Simulator, bare: Mapping[str, Bare], *, sends: int, rounds: int
) -> dict[str, Any]:
    """Each in turn, several rounds; ratios are medians over the rounds."""
    rates: dict[str, list[float]] = {"service": [], **{name: [] for name in bare}}
    for _ in range(rounds):
        for name, loop in bare.items():
            rates[name].append(await loop.send(sends))
        rates["service"].append(await send_through(host, simulator, sends))
    return {
        "sends_per_second": {name: whole(measured) for name, measured in rates.items()},
        "service_to_bare": ratio(rates["service"], rates["as_it_comes"]),
        "service_to_bare_wal": ratio(rates["service"], rates["wal"]),
    }

"""`python -m tests.chaos.takeover --rounds 20 --json`: two services, one account, one PostgreSQL.

In each round the service that holds the lease is SIGTERMed, SIGKILLed or cut off from the database, and
the other has to connect. What counts is seen by the WhatsApp server: how long both were logged in
(`overlap_ms`, must be 0) and how long nobody was (`gap_ms`). Both services have the same linked device: its
session was copied while nothing ran.
"""

import argparse
import asyncio
import json
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from enum import StrEnum
from itertools import cycle, islice, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from service.config import LOOPBACK, LogFormat, LogLevel
from service.demo.check import pair
from service.demo.host import Host
from service.demo.people import BEACON
from service.simulator.accounts import Account, Stay
from service.simulator.server import Simulator
from service.telemetry import logging
from tests.component.postgres import Postgres

SWITCHED_S: Final = 60.0


class Blow(StrEnum):
    """What is done to the holder."""

    SIGTERM = "sigterm"
    SIGKILL = "sigkill"
    CUT_OFF = "cut_off"


class Wire:
    """The way of one service to the database. Cut, it keeps connections and lets nothing through.

    `delay_s` is how much later each piece arrives, in either direction.
    """

    def __init__(self, port: int) -> None:
        self.delay_s = 0.0
        self._target = port
        self._whole = asyncio.Event()
        self._whole.set()
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it starts."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """Let nothing through, and keep what comes."""
        self._whole.clear()

    def mend(self) -> None:
        """Let everything through, first what came meanwhile."""
        self._whole.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrying = asyncio.create_task(self._carry(reader, writer))
        self._pumps.add(carrying)
        carrying.add_done_callback(self._pumps.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._whole.wait()
        try:
            there, back = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError):
                while data := await reader.read(1 << 16):
                    await asyncio.sleep(self.delay_s)
                    await self._whole.wait()
                    writer.write(data)
                    await writer.drain()
                await self._whole.wait()
        finally:
            writer.close()


class Contender:
    """One of the two services, with its folder and its way to the database."""

    def __init__(self, name: str, folder: Path, simulator: Simulator, wire: Wire, url: str) -> None:
        self.name = name
        self.wire = wire
        self.session = folder / "service" / "session.db"
        self.session.parent.mkdir(parents=True, mode=0o700)
        self.host = Host(folder, {**simulator.environment(), "DATABASE_URL": url}, quiet=True)

    async def waits(self) -> None:
        """It knows that the other one holds the lease."""
        await self.host.until(lambda session: session["reason"] == "lease_held_elsewhere")

    async def connects(self) -> None:
        """It holds the lease and is logged in."""
        await self.host.until(lambda session: session["state"] == "connected", timeout_s=SWITCHED_S)

    async def suffers(self, blow: Blow) -> None:
        """It can hold the lease no longer."""
        match blow:
            case Blow.SIGTERM:
                await self.host.stop()
            case Blow.SIGKILL:
                await self.host.kill()
            case Blow.CUT_OFF:
                self.wire.cut()

    async def recovers(self, blow: Blow) -> None:
        """It stands by again."""
        if blow is Blow.CUT_OFF:
            self.wire.mend()
        else:
            await self.host.start()
        await self.waits()


async def play(folder: Path, blows: Iterable[Blow]) -> dict[str, Any]:
    """One round for each blow; the figures by name. Raises SimulatorError when nobody takes over."""
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(Postgres())
        database = await postgres.create()
        simulator = await stack.enter_async_context(Simulator(folder))
        contenders = []
        for name in ("first", "second"):
            wire = await stack.enter_async_context(Wire(postgres.port))
            url = postgres.url(database, port=wire.port)
            contenders.append(Contender(name, folder / name, simulator, wire, url))
        holder, standby = contenders
        await stack.enter_async_context(holder.host)
        await pair(holder.host, simulator)
        await holder.host.stop()
        _copy(holder.session, standby.session)
        await holder.host.start()
        await holder.connects()
        await stack.enter_async_context(standby.host)
        await standby.waits()

        account, rounds = simulator.accounts[BEACON], []
        for blow in blows:
            rounds.append(await _round(holder, standby, blow, account))
            holder, standby = standby, holder
        return _report(rounds)


async def _round(holder: Contender, standby: Contender, blow: Blow, account: Account) -> dict[str, Any]:
    before, started = len(account.stays), time.monotonic()
    _, _ = await asyncio.gather(holder.suffers(blow), standby.connects())
    await holder.recovers(blow)
    # the last stay before the blow, and every login since
    stays = list(account.stays)[before - 1 :]
    return {
        "blow": blow.value,
        "overlap_ms": math.ceil(1000 * overlap_s(stays)),
        "gap_ms": round(1000 * (stays[1].began - (stays[0].ended or stays[1].began))),
        "out_after_ms": round(1000 * ((stays[0].ended or math.nan) - started)),
        "in_after_ms": round(1000 * (stays[1].began - started)),
        "logins": len(stays) - 1,
    }


def overlap_s(stays: Iterable[Stay]) -> float:
    """Seconds in which the account was logged in twice; who has not ended yet is there until now."""
    now = time.monotonic()
    return sum(max(0.0, (earlier.ended or now) - later.began) for earlier, later in pairwise(stays))


def _copy(session: Path, to: Path) -> None:
    for file in session.parent.glob(session.name + "*"):
        shutil.copy2(file, to.parent)


def _report(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    by_blow = {}
    for blow in Blow:
        if gaps := [one["gap_ms"] for one in rounds if one["blow"] == blow.value]:
            by_blow[blow.value] = {
                "rounds": len(gaps),
                "median": round(statistics.median(gaps)),
                "max": max(gaps),
            }
    return {
        "rounds": len(rounds),
        "overlap_ms": max(one["overlap_ms"] for one in rounds),
        "logins_too_many": sum(one["logins"] - 1 for one in rounds),
        "gap_ms": by_blow,
        "each": rounds,
    }


def main() -> None:
    """Play and print; exit code 1 when both were ever logged in."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.takeover", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="rounds, the blows in turn")
    parser.add_argument("--json", action="store_true", help="one line instead of indented")
    parser.add_argument("--folder", type=Path, help="keep the folders and logs of both services here")
    given = parser.parse_args()
    logging.configure(LogFormat.AUTO, LogLevel.ERROR)
    with tempfile.TemporaryDirectory(prefix="beacon-takeover-") as temporary:
        figures = asyncio.run(play(given.folder or Path(temporary), islice(cycle(Blow), given.rounds)))
    sys.stdout.write(json.dumps(figures, indent=None if given.json else 2) + "\n")
    sys.exit(figures["overlap_ms"] > 0)


if __name__ == "__main__":
    main()

"""A storm: everything that can be healed goes wrong, again and again, while messages trickle.

`python -m tests.chaos.storm --seconds 300 --json`. The service is a process of its own, the recipients are
real neonize clients, and what they decrypted is what counts. Faults whose answer is to wait for a quarter
of an hour or for a person (bans, logouts, `replaced`, a row of stream errors) have no place here, nor has a
login that is refused with 503 again and again: each time Beacon waits longer, for WhatsApp's sake. Any other
fault may be the last one.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import psutil

from service.config import LogFormat, LogLevel
from service.demo.check import UNKNOWN_WAIT_S, pair
from service.demo.host import Host
from service.demo.ledger import Ledger
from service.demo.people import BEACON, CONTACTS, contact
from service.simulator.server import Simulator
from service.telemetry import logging

NAMES: Final = ("Ann", "Ben")
BETWEEN_FAULTS_S: Final = (0.2, 3.0)
FAULT_LASTS_S: Final = (0.2, 3.0)
BETWEEN_MESSAGES_S: Final = 0.25
WARM_UP: Final = 40
"""Messages before memory and descriptors are read for the first time."""
BACK_WITHIN_S: Final = 10.0
STARTS: Final = "whatsapp_engine_starts_total"
FD_NOISE: Final = 3
RSS_NOISE_MB: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the storm did and what became of the messages.

    `connected_after_ms` runs from the end of the last fault. Growth is that of the service's own process,
    from the calm before to the calm after.
    """

    seed: int
    faults: int
    messages: int
    lost: int
    duplicates: int
    out_of_order: int
    longest_stall_ms: int
    connected_after_ms: int
    parent_fd_growth: int
    parent_rss_growth_mb: float
    engine_restarts: int
    by_kind: dict[str, int]

    @property
    def holds(self) -> bool:
        """Every promise was kept."""
        return (
            self.lost == 0
            and self.connected_after_ms <= BACK_WITHIN_S * 1000
            and self.parent_fd_growth <= FD_NOISE
            and self.parent_rss_growth_mb <= RSS_NOISE_MB
        )


@dataclass
class Pulse:
    """When people's clients last heard something, and the longest time between."""

    ledger: Ledger
    last: float = field(default_factory=time.monotonic)
    longest_s: float = 0.0

    def beat(self) -> None:
        """A message was decrypted."""
        now = time.monotonic()
        self.longest_s, self.last = max(self.longest_s, now - self.last), now
        self.ledger.on_heard()


class Storm:
    """Chooses a fault, makes it, and ends those that last."""

    def __init__(self, simulator: Simulator, host: Host, rng: random.Random) -> None:
        self._simulator = simulator
        self._host = host
        self._rng = rng
        self._frozen: list[psutil.Process] = []
        self.made: Counter[str] = Counter()
        self.kinds: dict[str, Callable[[], bool]] = {
            "cut": self._cut,
            "refused": self._refused,
            "half_open": self._half_open,
            "slow": self._slow,
            "ack_lost": self._ack_lost,
            "message_lost": self._message_lost,
            "server_restarts": self._server_restarts,
            "restart_515": self._restart_515,
            "engine_frozen": self._engine_frozen,
            "engine_killed": self._engine_killed,
        }

    async def rage(self, seconds: float) -> None:
        """Make faults for that long; all are healed at the end."""
        end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as tasks:
            while time.monotonic() < end:
                await asyncio.sleep(self._rng.uniform(*BETWEEN_FAULTS_S))
                kind = self._rng.choice(list(self.kinds))
                self.made[kind] += 1
                if self.kinds[kind]():
                    tasks.create_task(self._heal_after(self._rng.uniform(*FAULT_LASTS_S)))

    async def _heal_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._simulator.faults.heal()
        while self._frozen:
            with suppress(psutil.NoSuchProcess):
                self._frozen.pop().resume()

    # each makes one fault; True when it lasts until it is healed

    def _cut(self) -> bool:
        self._simulator.faults.cut(BEACON)
        return False

    def _refused(self) -> bool:
        self._simulator.faults.refuse()
        self._simulator.faults.cut(BEACON)
        return True

    def _half_open(self) -> bool:
        self._simulator.faults.half_open(BEACON)
        return True

    def _slow(self) -> bool:
        self._simulator.faults.delay(self._rng.uniform(0.1, 1.0), BEACON)
        return True

    def _ack_lost(self) -> bool:
        self._simulator.faults.swallow_acks(BEACON, times=1)
        return False

    def _message_lost(self) -> bool:
        self._simulator.faults.swallow_messages(BEACON, times=1)
        return False

    def _server_restarts(self) -> bool:
        self._simulator.faults.end("restarting_soon", BEACON)
        return False

    def _restart_515(self) -> bool:
        self._simulator.faults.end("restart", BEACON)
        return False

    def _engine_frozen(self) -> bool:
        for engine in self._host.engines():
            with suppress(psutil.NoSuchProcess):
                engine.suspend()
                self._frozen.append(engine)
        return True

    def _engine_killed(self) -> bool:
        self._host.kill_engine()
        return False


async def play(folder: Path, *, seconds: float, seed: int) -> Report:
    """One storm. Raises SimulatorError when a message that was accepted never arrives."""
    ledger = Ledger()
    pulse = Pulse(ledger)
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator(folder))
        for name in NAMES:
            heard = contact(name, CONTACTS[name], simulator=simulator, folder=folder, heard=pulse.beat)
            ledger.people[name] = await stack.enter_async_context(heard)
        environment = {**simulator.environment(), "UNKNOWN_WAIT": UNKNOWN_WAIT_S}
        host = await stack.enter_async_context(Host(folder, environment, quiet=True))
        await pair(host, simulator)
        await _post(host, ledger, WARM_UP)
        await ledger.until_delivered(WARM_UP)
        service = host.process
        before = service.num_fds(), service.memory_info().rss
        engines = await host.metric(STARTS)
        pulse.last = time.monotonic()

        storm = Storm(simulator, host, random.Random(seed))
        raging = asyncio.create_task(storm.rage(seconds))
        while not raging.done():
            await _post(host, ledger, 1)
            await asyncio.wait([raging], timeout=BETWEEN_MESSAGES_S)
        await raging
        healed = time.monotonic()
        await host.until(lambda session: session["state"] == "connected")
        connected = time.monotonic() - healed
        await ledger.until_delivered(len(ledger.ids))
        await host.until_settled(ledger.ids)
        return Report(
            seed=seed,
            faults=storm.made.total(),
            messages=len(ledger.ids),
            lost=len(ledger.ids) - ledger.delivered,
            duplicates=ledger.duplicates,
            out_of_order=ledger.out_of_order,
            longest_stall_ms=round(pulse.longest_s * 1000),
            connected_after_ms=round(connected * 1000),
            parent_fd_growth=service.num_fds() - before[0],
            parent_rss_growth_mb=round((service.memory_info().rss - before[1]) / 1e6, 1),
            engine_restarts=round(await host.metric(STARTS) - engines),
            by_kind=dict(storm.made),
        )


async def _post(host: Host, ledger: Ledger, count: int) -> None:
    sent = len(ledger.ids)
    await ledger.post(host, [NAMES[number % len(NAMES)] for number in range(sent, sent + count)])


def main() -> None:
    """Storm, print, and end with 0 only when every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.storm", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long faults are made")
    parser.add_argument("--seed", type=int, default=None, help="the same seed chooses the same faults")
    parser.add_argument("--json", action="store_true", help="one line instead of indented")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    sys.stderr.write(f"seed {seed}\n")
    logging.configure(LogFormat.AUTO, LogLevel.ERROR)
    with tempfile.TemporaryDirectory(prefix="beacon-storm-") as folder:
        report = asyncio.run(play(Path(folder), seconds=given.seconds, seed=seed))
    sys.stdout.write(json.dumps(asdict(report), indent=None if given.json else 2) + "\n")
    sys.exit(0 if report.holds else 1)


if __name__ == "__main__":
    main()

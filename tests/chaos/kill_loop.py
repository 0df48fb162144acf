"""The service is SIGKILLed again and again while messages stream in; every one must arrive all the same.

`python -m tests.chaos.kill_loop --kills 200 --store sqlite --json`. The service is a process of its own and
keeps its folder; the recipients are real neonize clients, and what they decrypted is what counts. It is
killed from outside at any moment, its start included, and by itself at named points of its program
(`killable.py`). Programs that hand in messages repeat, under the same idempotency key, what got no answer.

    accepted      messages answered 202
    delivered     of these, decrypted by their recipient at least once
    confirmed     of these, known to be delivered by the service too; the receipts of the others were taken
                  from WhatsApp and died with the process
    lost          accepted - delivered
    duplicates    decrypted once more
    out_of_order  decrypted after a message of the same chat that was accepted later
    stuck         not at an end, or forgotten, when nothing moves any more
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import aiohttp

from service.config import LogFormat, LogLevel
from service.demo.check import UNKNOWN_WAIT_S, pair
from service.demo.host import SETTLED, Host
from service.demo.ledger import Ledger
from service.demo.people import CONTACTS, contact
from service.errors import SimulatorError
from service.simulator.server import Simulator
from service.telemetry import logging
from tests.chaos.killable import VARIABLE, Order, Point
from tests.chaos.store import Store
from tests.chaos.stream import Stream

PROGRAM: Final = (sys.executable, "-m", "tests.chaos.killable")
DUPLICATES_ALLOWED: Final = 2
POINT_S: Final = 30.0
"""How long a point may take to be reached before the service is killed from outside instead."""

STANDSTILL_S: Final = 60.0
"""When nothing has moved for so long, nothing will."""

LIFE_S: Final = (0.0, 1.0)
LONG_LIFE_S: Final = (3.0, 6.0)
LONG_LIVES: Final = 0.25
"""Which share of the random moments leaves time for what waits to be resolved (UNKNOWN_WAIT, connected)."""

STARTING: Final = 0.25
"""Which share of the random moments may lie before the connection."""

PASSAGES: Final = {
    Point.BEFORE_COMMIT: 60,
    Point.AFTER_COMMIT: 60,
    Point.SENDING: 20,
    Point.ACKED_NOT_RECORDED: 20,
    Point.RECEIPT_NOT_RECORDED: 20,
}
"""The latest passage that is chosen; the earlier, the sooner after the start."""

SENDING_S: Final = 0.004
ASKING_AT_ONCE: Final = 8
BETWEEN_LOOKS_S: Final = 1.0
CONFIRMED: Final = frozenset({"delivered", "read"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was done to the service and what became of the messages."""

    store: str
    seed: int
    kills: int
    accepted: int
    delivered: int
    confirmed: int
    lost: int
    duplicates: int
    out_of_order: int
    stuck: int
    requests_repeated: int
    known_by_key: int
    seconds: float
    seconds_per_kill: float
    by_point: dict[str, int]
    states: dict[str, int]

    @property
    def holds(self) -> bool:
        """Every promise was kept."""
        return (
            self.accepted == self.delivered > 0
            and self.lost == self.stuck == self.out_of_order == 0
            and self.duplicates <= DUPLICATES_ALLOWED
        )


class Killer:
    """Starts the service and ends it, round after round."""

    def __init__(self, host: Host, store: Store, rng: random.Random) -> None:
        self._host = host
        self._store = store
        self._rng = rng
        self.done: Counter[str] = Counter()

    async def round(self, point: Point) -> None:
        """One life of the service. Raises SimulatorError when it ends otherwise than by being killed."""
        if point is Point.RANDOM:
            await self._start(None)
            await self._from_outside()
        else:
            passage = self._rng.randint(1, PASSAGES[point])
            await self._start(Order(point, passage, self._rng.uniform(0.0, SENDING_S)))
            point = await self._at(point)
        self.done[point.value] += 1

    async def revive(self) -> None:
        """Start it once more, to live."""
        await self._start(None)
        await self._host.until(lambda session: session["state"] == "connected")

    async def _start(self, order: Order | None) -> None:
        self._host.environment.pop(VARIABLE, None)
        if order is not None:
            self._host.environment[VARIABLE] = str(order)
        await self._store.release()
        await self._host.spawn()

    async def _from_outside(self) -> None:
        if self._rng.random() < STARTING:
            await asyncio.sleep(self._rng.uniform(0.1, 2.0))
        else:
            await self._host.until(lambda session: session["state"] == "connected")
            long = self._rng.random() < LONG_LIVES
            await asyncio.sleep(self._rng.uniform(*(LONG_LIFE_S if long else LIFE_S)))
        await self._host.kill()

    async def _at(self, point: Point) -> Point:
        try:
            async with asyncio.timeout(POINT_S):
                code = await self._host.wait()
        except TimeoutError:
            await self._host.kill()
            return Point.RANDOM
        if code != -signal.SIGKILL:
            raise SimulatorError(f"the service ended by itself with {code}: {self._host.last_words()}")
        return point


async def play(
    folder: Path, *, points: Sequence[Point], store: str, seed: int, names: Sequence[str] = tuple(CONTACTS)
) -> Report:
    """Kill the service at these points, one after the other, while messages stream in for these people.

    Raises SimulatorError when it cannot go on.
    """
    rng = random.Random(seed)
    ledger = Ledger()
    async with AsyncExitStack() as stack:
        database = await Store.make(store, stack)
        simulator = await stack.enter_async_context(Simulator(folder))
        people = await asyncio.gather(
            *(
                stack.enter_async_context(
                    contact(name, CONTACTS[name], simulator=simulator, folder=folder, heard=ledger.on_heard)
                )
                for name in names
            )
        )
        ledger.people.update({person.name: person for person in people})
        environment = {
            **simulator.environment(),
            **database.environment,
            "UNKNOWN_WAIT": UNKNOWN_WAIT_S,
            "PACING": "off",
        }
        host = await stack.enter_async_context(Host(folder, environment, quiet=True, program=PROGRAM))
        await pair(host, simulator)
        await host.kill()

        http = await stack.enter_async_context(aiohttp.ClientSession(host.url))
        streams = [Stream(name, http, ledger, random.Random(rng.random())) for name in names]
        killer = Killer(host, database, rng)
        stop, began = asyncio.Event(), time.monotonic()
        async with asyncio.TaskGroup() as group:
            for stream in streams:
                group.create_task(stream.run(stop))
            for point in points:
                await killer.round(point)
            seconds = time.monotonic() - began
            await killer.revive()
            stop.set()
        states = await _until_quiet(http, ledger)
        accepted = len(ledger.ids)
        return Report(
            store=store,
            seed=seed,
            kills=killer.done.total(),
            accepted=accepted,
            delivered=ledger.delivered,
            confirmed=sum(states[state] for state in CONFIRMED),
            lost=accepted - ledger.delivered,
            duplicates=ledger.duplicates,
            out_of_order=ledger.out_of_order,
            stuck=sum(count for state, count in states.items() if state not in SETTLED),
            requests_repeated=sum(stream.repeated for stream in streams),
            known_by_key=sum(stream.known for stream in streams),
            seconds=round(seconds, 1),
            seconds_per_kill=round(seconds / len(points), 2),
            by_point=dict(killer.done),
            states=dict(states),
        )


async def _until_quiet(http: aiohttp.ClientSession, ledger: Ledger) -> Counter[str]:
    """How many messages are in which state once nothing can arrive any more, or nothing moves any more."""
    states: dict[str, str] = {}
    gate = asyncio.Semaphore(ASKING_AT_ONCE)

    async def ask(message_id: str) -> None:
        async with gate, http.get(f"/api/v1/messages/{message_id}") as response:
            states[message_id] = (await response.json())["state"] if response.status == 200 else "forgotten"

    delivered, moved_at = -1, time.monotonic()
    while ledger.delivered < len(ledger.ids) and time.monotonic() < moved_at + STANDSTILL_S:
        if ledger.delivered > delivered:
            delivered, moved_at = ledger.delivered, time.monotonic()
        await asyncio.sleep(BETWEEN_LOOKS_S)
    before: Counter[str] | None = None
    end = time.monotonic() + STANDSTILL_S
    while time.monotonic() < end:
        await asyncio.gather(*(ask(one) for one in ledger.ids if states.get(one) not in CONFIRMED))
        counts = Counter(states.values())
        if counts == before and set(counts) <= SETTLED:
            break
        before = counts
        await asyncio.sleep(BETWEEN_LOOKS_S)
    return Counter(states.values())


def main() -> None:
    """Kill, print, and end with 0 only when every promise was kept."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.kill_loop",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=200, help="how often; the points in turn")
    parser.add_argument(
        "--store", choices=Store.KINDS, default=Store.KINDS[0], help="where the queue is kept"
    )
    parser.add_argument("--points", type=Point, nargs="+", default=list(Point), help="only these points")
    parser.add_argument("--seed", type=int, default=None, help="the same seed chooses the same moments")
    parser.add_argument("--json", action="store_true", help="one line instead of indented")
    parser.add_argument("--folder", type=Path, help="keep the service's folder and log here")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    sys.stderr.write(f"seed {seed}\n")
    logging.configure(LogFormat.AUTO, LogLevel.ERROR)
    points = list(islice(cycle(given.points), given.kills))
    with tempfile.TemporaryDirectory(prefix="beacon-kills-") as temporary:
        folder = given.folder or Path(temporary)
        report = asyncio.run(play(folder, points=points, store=given.store, seed=seed))
    sys.stdout.write(json.dumps(asdict(report), indent=None if given.json else 2) + "\n")
    sys.exit(0 if report.holds else 1)


if __name__ == "__main__":
    main()

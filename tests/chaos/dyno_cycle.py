"""Dynos die and their disks with them, again and again; the session lives on, and so does every message.

`python -m tests.chaos.dyno_cycle --rounds 20 --json`. The service keeps its queue and its backups in
PostgreSQL and is paired once. In each round it is SIGTERMed or SIGKILLed while messages flow both ways, its
data directory is deleted, and it is started again with another one. What arrived is counted at both ends:
what people's own clients decrypted, and what the bot was told (a plugin writes it down).

    outbound                accepted messages that the service was to send
    outbound_lost           of these, never decrypted by their recipient
    inbound                 messages that people sent to the bot
    inbound_lost            of these, never told to the bot, those of the next line excepted
    inbound_acked_unseen    taken from WhatsApp by the bot's client, which was killed before it told anybody
    outbound_dropped        messages that people's clients dropped and confirmed, as their key had been used
    inbound_dropped         messages that the bot's client dropped so
    linked                  how often a phone was linked; the first time is the only one
    qr                      rounds in which the service asked for a phone
    restore_ms              bringing the session back: fetched, unsealed, checked, in place
    connected_ms            from the start of the new process to its login; after SIGKILL the lease of the
                            dead one has to expire first (15 s)
    undecryptable           messages that the restored session could not read at once, and asked for again

Everybody writes and is written to, with up to 20 letters on their way at once: that way whatsmeow by itself,
without any dyno's end, spoils sessions (service/engine/turns.py says how, and what keeps Beacon's client, and
the people's, from that). What a spoiled session costs is dropped by the other side. So a loss with a drop on
the bot's side was made by the client of whoever wrote, and one with a drop on the people's side by Beacon's.
With `--apart` who is written to does not write.
"""

import argparse
import asyncio
import json
import random
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

from service.backup.model import RestoreKind
from service.config import LogFormat, LogLevel
from service.demo.check import UNKNOWN_WAIT_S, pair
from service.demo.host import Host
from service.demo.ledger import Ledger
from service.demo.people import BEACON, CONTACTS, Contact, contact
from service.engine.protocol import Unread
from service.simulator.accounts import Account
from service.simulator.server import Simulator
from service.telemetry import logging
from tests.chaos.letters import Death, Letter, Writer, fate, repeated
from tests.chaos.store import Store
from tests.chaos.stream import Stream
from tests.component.postgres import Postgres
from tests.witness import Witness

READERS: Final = ("Ann", "Ben")
ONLY_WRITERS: Final = ("Cleo", "Dan")
LETTERS_AHEAD: Final = 20
"""How many letters of one person may be on their way at once."""

LIFE_S: Final = (1.0, 4.0)
"""How long messages flow before the blow, and again after the new login."""

BETWEEN_S: Final = (0.1, 1.0)
AHEAD: Final = 40
BACK_S: Final = 90.0
STANDSTILL_S: Final = 15.0
"""When nothing has arrived for so long, nothing will."""

LOOK_S: Final = 0.25
DIE_S: Final = 10.0
ASKS_FOR_A_PHONE: Final = frozenset({"unpaired", "pairing", "logged_out"})


class Blow(StrEnum):
    """How a dyno ends."""

    SIGTERM = "sigterm"
    SIGKILL = "sigkill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One end and one start. `restored`: how the session came back, None when it did not."""

    blow: Blow
    restored: RestoreKind | None
    qr: bool
    outbound: int
    outbound_lost: int
    inbound: int
    inbound_lost: int
    inbound_acked_unseen: int
    undecryptable: int
    sessions_dropped: int
    restore_ms: int
    connected_ms: int
    ended_ms: int

    @property
    def holds(self) -> bool:
        """Every promise was kept."""
        acked_unseen = self.blow is Blow.SIGTERM and self.inbound_acked_unseen
        return self.restored is not None and not (
            self.qr or self.outbound_lost or self.inbound_lost or acked_unseen
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All rounds. `linked`: how often a phone was linked."""

    seed: int
    linked: int
    outbound_duplicates: int
    inbound_repeated: int
    outbound_dropped: int
    inbound_dropped: int
    rounds: Sequence[Round]

    @property
    def holds(self) -> bool:
        """Messages went both ways and every promise was kept."""
        flowed = all(one.inbound and one.outbound for one in self.rounds)
        return bool(self.rounds) and flowed and self.linked == 1 and all(one.holds for one in self.rounds)

    def as_dict(self) -> dict[str, Any]:
        """The figures by name: sums, medians, and each round."""
        summed = ("outbound", "outbound_lost", "inbound", "inbound_lost", "inbound_acked_unseen")
        return {
            "seed": self.seed,
            "rounds": len(self.rounds),
            "linked": self.linked,
            "qr": sum(one.qr for one in self.rounds),
            **{name: sum(getattr(one, name) for one in self.rounds) for name in summed},
            "undecryptable": sum(one.undecryptable for one in self.rounds),
            "outbound_duplicates": self.outbound_duplicates,
            "inbound_repeated": self.inbound_repeated,
            "outbound_dropped": self.outbound_dropped,
            "inbound_dropped": self.inbound_dropped,
            "by_blow": {blow.value: of for blow in Blow if (of := self._of(blow))},
            "each": [asdict(one) for one in self.rounds],
        }

    def _of(self, blow: Blow) -> dict[str, Any]:
        rounds = [one for one in self.rounds if one.blow is blow]
        if not rounds:
            return {}
        return {
            "rounds": len(rounds),
            "exact": sum(one.restored is RestoreKind.EXACT for one in rounds),
            "inbound_acked_unseen": sum(one.inbound_acked_unseen for one in rounds),
            "restore_ms": _spread([one.restore_ms for one in rounds]),
            "connected_ms": _spread([one.connected_ms for one in rounds]),
        }


class Dyno:
    """The service's process and its disk: both go together, and another takes their place."""

    def __init__(self, folder: Path, host: Host, store: Store | None) -> None:
        """With a store, the lease of a killed process is freed at once."""
        self._folder = folder
        self._host = host
        self._store = store
        self._number = 0
        self.asked_for_a_phone = False
        self._move()

    async def ends(self, blow: Blow) -> int:
        """The process ends, and then the disk is gone; the milliseconds until the process had ended."""
        processes, began = [self._host.process, *self._host.engines()], time.monotonic()
        if blow is Blow.SIGTERM:
            await self._host.stop()
        else:
            await self._host.kill()
        took_ms = round(1000 * (time.monotonic() - began))
        _, alive = await asyncio.to_thread(psutil.wait_procs, processes[1:], timeout=DIE_S)
        assert not alive, "the engine outlived the service"
        await asyncio.to_thread(shutil.rmtree, self._disk)
        self._move()
        if self._store is not None:
            await self._store.release()
        return took_ms

    async def starts(self) -> int:
        """Another process on another disk is logged in; the milliseconds that this took."""
        began, self.asked_for_a_phone = time.monotonic(), False
        await self._host.spawn()
        await self._host.until(self._connected, timeout_s=BACK_S)
        return round(1000 * (time.monotonic() - began))

    def _connected(self, session: Mapping[str, Any]) -> bool:
        self.asked_for_a_phone |= session["qr"] is not None or session["state"] in ASKS_FOR_A_PHONE
        return self.asked_for_a_phone or bool(session["state"] == "connected")

    def _move(self) -> None:
        self._number += 1
        self._disk = self._folder / f"dyno-{self._number}"
        self._host.environment["DATA_DIR"] = str(self._disk)


class Traffic:
    """Messages both ways, and what arrived of them."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        ledger: Ledger,
        witness: Witness,
        *,
        writers: Sequence[Contact],
        letters_ahead: int,
        bot: Account,
        rng: random.Random,
    ) -> None:
        self.ledger = ledger
        self.witness = witness
        self.bot = bot
        self.dropped = 0
        """What the bot's clients dropped, in all lives of the service that are over."""
        self._streams = [
            Stream(name, http, ledger, random.Random(rng.random()), between_s=BETWEEN_S, ahead=AHEAD)
            for name in ledger.people
        ]
        self._writers = [
            Writer(person, witness, random.Random(rng.random()), letters_ahead) for person in writers
        ]

    async def flow(self, stop: asyncio.Event) -> None:
        """Until told to stop; what was begun by then is accepted."""
        async with asyncio.TaskGroup() as group:
            for stream in self._streams:
                group.create_task(stream.run(stop))
            for writer in self._writers:
                group.create_task(writer.run(stop))

    def accepted(self) -> dict[str, list[str]]:
        """What the service took to send, by recipient."""
        return {name: list(texts) for name, texts in self.ledger.accepted.items()}

    def letters(self) -> list[Letter]:
        """What people wrote to the bot."""
        return [letter for writer in self._writers for letter in writer.letters]

    async def until_quiet(self) -> None:
        """Until everything arrived, or nothing more does."""
        moved_at, before = time.monotonic(), (-1, -1, -1)
        while time.monotonic() < moved_at + STANDSTILL_S:
            told = set(self.witness.told)
            unseen = [letter for letter in self.letters() if letter.text not in told]
            if not unseen and self.ledger.delivered == len(self.ledger.ids):
                return
            now = (len(unseen), self.ledger.delivered, self.bot.retries)
            if now != before:
                moved_at, before = time.monotonic(), now
            await asyncio.sleep(LOOK_S)


async def play(
    folder: Path,
    blows: Iterable[Blow],
    *,
    seed: int,
    readers: Sequence[str] = READERS,
    writers: Sequence[str] = READERS,
    letters_ahead: int = LETTERS_AHEAD,
    free_lease: bool = False,
) -> Report:
    """One round for each blow. With `free_lease` nobody waits for the lease of a killed process to expire.

    Raises SimulatorError when the service cannot go on.
    """
    rng, ledger, witness = random.Random(seed), Ledger(), Witness(folder / "witness.txt")
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(Postgres())
        url = postgres.url(await postgres.create())
        simulator = await stack.enter_async_context(Simulator(folder))
        arriving = [
            contact(name, CONTACTS[name], simulator=simulator, folder=folder, heard=ledger.on_heard)
            for name in dict.fromkeys((*readers, *writers))
        ]
        people = {
            person.name: person for person in await asyncio.gather(*map(stack.enter_async_context, arriving))
        }
        ledger.people.update({name: people[name] for name in readers})
        environment = {
            **simulator.environment(),
            **witness.environment(),
            "BACKUP_KEYS": secrets.token_hex(32),
            "DATABASE_URL": url,
            "UNKNOWN_WAIT": UNKNOWN_WAIT_S,
        }
        host = Host(folder, environment, quiet=True)
        dyno = Dyno(folder, host, Store({"DATABASE_URL": url}) if free_lease else None)
        await stack.enter_async_context(host)
        await pair(host, simulator)

        bot = simulator.accounts[BEACON]
        http = await stack.enter_async_context(aiohttp.ClientSession(host.url))
        traffic = Traffic(
            http,
            ledger,
            witness,
            writers=[people[name] for name in writers],
            letters_ahead=letters_ahead,
            bot=bot,
            rng=rng,
        )
        rounds: list[Round] = []
        for blow in blows:
            rounds.append(await _round(dyno, traffic, http, blow, rng))
            if rounds[-1].qr:
                break  # nothing can be sent any more
        traffic.dropped += (await Figures.of(http)).dropped
        return Report(
            seed=seed,
            linked=bot.next_device - 1,
            outbound_duplicates=ledger.duplicates,
            inbound_repeated=repeated(witness.told),
            outbound_dropped=sum(len(person.dropped) for person in people.values()),
            inbound_dropped=traffic.dropped,
            rounds=rounds,
        )


async def _round(
    dyno: Dyno, traffic: Traffic, http: aiohttp.ClientSession, blow: Blow, rng: random.Random
) -> Round:
    accepted, letters = traffic.accepted(), set(traffic.letters())
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(traffic.flow(stop))
        await asyncio.sleep(rng.uniform(*LIFE_S))
        traffic.dropped += (await Figures.of(http)).dropped
        ended_ms = await dyno.ends(blow)
        death = Death(traffic.letters(), traffic.bot)
        connected_ms = await dyno.starts()
        await asyncio.sleep(rng.uniform(*LIFE_S))
        stop.set()
    await traffic.until_quiet()
    figures = await Figures.of(http)
    sent = {name: texts[len(accepted.get(name, ())) :] for name, texts in traffic.accepted().items()}
    written = [letter for letter in traffic.letters() if letter not in letters]
    received = fate(written, traffic.witness.told, death, traffic.bot)
    return Round(
        blow=blow,
        restored=figures.restored,
        qr=dyno.asked_for_a_phone,
        outbound=sum(map(len, sent.values())),
        outbound_lost=sum(_missing(texts, traffic.ledger.people[name].inbox) for name, texts in sent.items()),
        inbound=received.written,
        inbound_lost=received.lost,
        inbound_acked_unseen=received.acked_unseen,
        undecryptable=round(figures.sum("whatsapp_backup_undecryptable_total")),
        sessions_dropped=round(figures.sum("whatsapp_backup_sessions_dropped_total")),
        restore_ms=round(1000 * figures.sum("whatsapp_backup_restore_duration_seconds_sum")),
        connected_ms=connected_ms,
        ended_ms=ended_ms,
    )


def _missing(texts: Sequence[str], inbox: Collection[str]) -> int:
    return len(set(texts) - set(inbox))


def _spread(values: Sequence[int]) -> dict[str, int]:
    return {"median": round(statistics.median(values)), "max": max(values)}


class Figures:
    """What the service told of itself at one moment."""

    def __init__(self, text: str) -> None:
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    @classmethod
    async def of(cls, http: aiohttp.ClientSession) -> "Figures":
        """From GET /metrics."""
        async with http.get("/metrics") as response:
            response.raise_for_status()
            return cls(await response.text())

    def sum(self, name: str, **labels: str) -> float:
        """Over all label sets that have these labels."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    @property
    def dropped(self) -> int:
        """Messages that this process dropped, because their key had been used before."""
        return round(self.sum("whatsapp_engine_undecryptable_total", reason=Unread.OLD_COUNTER.value))

    @property
    def restored(self) -> RestoreKind | None:
        """How this process brought its session back."""
        kinds = [kind for kind in RestoreKind if self.sum("whatsapp_backup_restores_total", kind=kind.value)]
        return kinds[0] if kinds else None


def main() -> None:
    """Play, print, and end with 0 only when every promise was kept."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.dyno_cycle",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=20, help="rounds, the blows in turn")
    parser.add_argument("--blows", type=Blow, nargs="+", default=list(Blow), help="only these blows")
    parser.add_argument("--seed", type=int, default=None, help="the same seed chooses the same moments")
    parser.add_argument("--apart", action="store_true", help="who is written to does not write")
    parser.add_argument(
        "--ahead", type=int, default=LETTERS_AHEAD, help="letters of one person on their way at once"
    )
    parser.add_argument("--json", action="store_true", help="one line instead of indented")
    parser.add_argument("--folder", type=Path, help="keep the service's log and the witness here")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    sys.stderr.write(f"seed {seed}\n")
    logging.configure(LogFormat.AUTO, LogLevel.ERROR)
    with tempfile.TemporaryDirectory(prefix="beacon-dyno-") as temporary:
        folder = given.folder or Path(temporary)
        blows = islice(cycle(given.blows), given.rounds)
        writers = ONLY_WRITERS if given.apart else READERS
        report = asyncio.run(play(folder, blows, seed=seed, writers=writers, letters_ahead=given.ahead))
    sys.stdout.write(json.dumps(report.as_dict(), indent=None if given.json else 2) + "\n")
    sys.exit(0 if report.holds else 1)


if __name__ == "__main__":
    main()

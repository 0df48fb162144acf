"""How long after the link's return the first message is with its recipient.

`python -m tests.chaos.recovery --outages 1 30 300 --json`. For each outage the service's link is cut and new
ones are refused, a message is handed in, and when the link is back the time runs until the recipient's own
client has decrypted it. Login attempts are
those of the service; what whatsmeow dials by itself in the first 20 s is not told to anybody.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from service.config import LogFormat, LogLevel
from service.demo.check import UNKNOWN_WAIT_S, pair
from service.demo.host import Host
from service.demo.ledger import Ledger
from service.demo.people import BEACON, CONTACTS, contact
from service.simulator.server import Simulator
from service.telemetry import logging

WITHIN_MS: Final = 3000
ATTEMPTS: Final = "whatsapp_connect_attempts_total"
NAME: Final = "Ann"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """One outage. `first_ms` runs from the link's return to the recipient's screen."""

    outage_s: float
    first_ms: int
    login_attempts: int


async def play(folder: Path, outages: list[float]) -> list[Recovery]:
    """Cut, wait, heal and measure, once for each outage."""
    ledger = Ledger()
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator(folder))
        person = await stack.enter_async_context(
            contact(NAME, CONTACTS[NAME], simulator=simulator, folder=folder, heard=ledger.on_heard)
        )
        ledger.people[NAME] = person
        environment = {**simulator.environment(), "UNKNOWN_WAIT": UNKNOWN_WAIT_S}
        host = await stack.enter_async_context(Host(folder, environment, quiet=True))
        await pair(host, simulator)
        await ledger.post(host, [NAME])
        await ledger.until_delivered(1)
        return [await _outage(host, simulator, ledger, outage_s) for outage_s in outages]


async def _outage(host: Host, simulator: Simulator, ledger: Ledger, outage_s: float) -> Recovery:
    attempts = await host.metric(ATTEMPTS)
    simulator.faults.refuse()
    simulator.faults.cut(BEACON)
    began = time.monotonic()
    await host.until(lambda session: session["state"] != "connected")
    await ledger.post(host, [NAME])
    await asyncio.sleep(max(0.0, outage_s - (time.monotonic() - began)))
    during = await host.metric(ATTEMPTS) - attempts
    simulator.faults.heal()
    healed = time.monotonic()
    await ledger.until_delivered(len(ledger.ids))
    first_ms = round((time.monotonic() - healed) * 1000)
    await host.until(lambda session: session["state"] == "connected")
    return Recovery(outage_s=outage_s, first_ms=first_ms, login_attempts=round(during))


def main() -> int:
    """Measure and print; 0 when every first message was there in time."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.recovery", description=__doc__)
    parser.add_argument("--outages", type=float, nargs="+", default=[1, 30, 300], metavar="SECONDS")
    parser.add_argument("--json", action="store_true", help="one line instead of indented")
    given = parser.parse_args()
    logging.configure(LogFormat.AUTO, LogLevel.ERROR)
    with tempfile.TemporaryDirectory(prefix="beacon-recovery-") as folder:
        seen = asyncio.run(play(Path(folder), given.outages))
    in_time = all(one.first_ms <= WITHIN_MS for one in seen)
    answer = {"recoveries": [asdict(one) for one in seen], "within_ms": WITHIN_MS, "in_time": in_time}
    sys.stdout.write(json.dumps(answer, indent=None if given.json else 2) + "\n")
    return 0 if in_time else 1


if __name__ == "__main__":
    sys.exit(main())

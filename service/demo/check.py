"""The check: 200 messages through cut links and killed processes, counted where they arrive.

The recipients are real neonize clients; what they decrypted is what counts.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from service.demo.host import Host
from service.demo.ledger import Ledger
from service.demo.people import BEACON, CONTACTS, contact
from service.simulator.server import Simulator

TRICKLE: Final = 40
BURST: Final = 100
WHILE_CUT: Final = 60
UNKNOWN_WAIT_S: Final = "3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the check saw. Times run from the moment the link is healed.

    `confirmed` is what the service itself knows to be delivered. It can be a little less: WhatsApp tells of a
    delivery once, and a client that is killed between taking the receipt and passing it on has lost it.
    """

    accepted: int
    delivered: int
    confirmed: int
    lost: int
    duplicates: int
    out_of_order: int
    recover_first_ms: int
    recover_all_ms: int

    @property
    def holds(self) -> bool:
        """Every promise was kept."""
        return (
            self.accepted == self.delivered == TRICKLE + BURST + WHILE_CUT
            and self.lost == 0
            and self.out_of_order == 0
            and self.duplicates <= 1
        )

    def as_dict(self) -> dict[str, int]:
        """The figures by name."""
        return asdict(self)


async def play(folder: Path) -> Report:
    """Play the whole story once. Raises SimulatorError when it cannot go on."""
    ledger = Ledger()
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator(folder))
        people = await asyncio.gather(
            *(
                stack.enter_async_context(
                    contact(name, phone, simulator=simulator, folder=folder, heard=ledger.on_heard)
                )
                for name, phone in CONTACTS.items()
            )
        )
        ledger.people.update({person.name: person for person in people})
        environment = {**simulator.environment(), "UNKNOWN_WAIT": UNKNOWN_WAIT_S}
        host = await stack.enter_async_context(Host(folder, environment, quiet=True))
        await pair(host, simulator)
        return await _story(host, simulator, ledger)


async def pair(host: Host, simulator: Simulator) -> None:
    """Scan the QR code that the service's API shows, and wait for the connection."""
    shown = await host.until(lambda session: session["qr"] is not None)
    await simulator.scan(shown["qr"]["text"], BEACON)
    await host.until(lambda session: session["state"] == "connected")


async def _story(host: Host, simulator: Simulator, ledger: Ledger) -> Report:
    names = list(CONTACTS)
    for turn in range(TRICKLE):
        await ledger.post(host, [names[turn % len(names)]])
    await ledger.post(host, [names[0]] * BURST)
    await ledger.until_delivered(TRICKLE + BURST // 5)
    host.kill_engine()
    await ledger.until_delivered(TRICKLE + BURST // 2)
    simulator.faults.refuse()
    simulator.faults.cut(BEACON)
    for turn in range(WHILE_CUT):
        await ledger.post(host, [names[turn % len(names)]])
    await host.kill()
    await host.start()
    await host.until(lambda session: session["state"] == "backing_off")

    before = ledger.delivered
    healed = time.monotonic()
    simulator.faults.heal()
    await ledger.until_delivered(before + 1)
    first = time.monotonic() - healed
    await ledger.until_delivered(TRICKLE + BURST + WHILE_CUT)
    everything = time.monotonic() - healed
    settled = await host.until_settled(ledger.ids)  # nothing can arrive twice any more
    return Report(
        accepted=len(ledger.ids),
        delivered=ledger.delivered,
        confirmed=settled["delivered"] + settled["read"],
        lost=len(ledger.ids) - ledger.delivered,
        duplicates=ledger.duplicates,
        out_of_order=ledger.out_of_order,
        recover_first_ms=round(first * 1000),
        recover_all_ms=round(everything * 1000),
    )

"""The demo for people: a paired service with a few lively contacts, and a fault now and then."""

import asyncio
import itertools
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from service.demo.check import pair
from service.demo.host import Host
from service.demo.people import BEACON, CONTACTS, Contact, contact
from service.simulator.server import Simulator

LOOK_AT_QR_S: Final = 15.0
BETWEEN_MESSAGES_S: Final = 1.5
FAULT_EVERY: Final = 30
FAULT_S: Final = 12.0


async def play(folder: Path) -> int:
    """Run until Ctrl-C or SIGTERM, or until the service ends by itself; the service's exit code."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator(folder))
        people = await asyncio.gather(
            *(
                stack.enter_async_context(
                    contact(name, phone, simulator=simulator, folder=folder, heard=lambda: None)
                )
                for name, phone in CONTACTS.items()
            )
        )
        host = await stack.enter_async_context(Host(folder, simulator.environment(), quiet=False))
        life = asyncio.create_task(_live(host, simulator, people))
        ends = (asyncio.create_task(host.wait()), asyncio.create_task(asked.wait()))
        await asyncio.wait({life, *ends}, return_when=asyncio.FIRST_COMPLETED)
        for task in ends:
            task.cancel()
        if life.done():
            life.result()
        life.cancel()
        return await host.stop()


async def _live(host: Host, simulator: Simulator, people: list[Contact]) -> None:
    await asyncio.sleep(LOOK_AT_QR_S)
    await pair(host, simulator)
    for turn in itertools.count(1):
        person = people[turn % len(people)]
        await host.post([{"to": person.phone, "text": f"Notification {turn}"}])
        if turn % 5 == 0:
            await person.send(BEACON, "!ping")
        if turn % FAULT_EVERY == 0:
            simulator.faults.refuse()
            simulator.faults.cut(BEACON)
            asyncio.get_running_loop().call_later(FAULT_S, simulator.faults.heal)
        await asyncio.sleep(BETWEEN_MESSAGES_S)

"""The daily presence as real neonize says it and as WhatsApp sees it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from prometheus_client import CollectorRegistry

from service.reconnect.presence import SHOWN_S, STABLE_S, DailyPresence, PresenceMetrics
from service.reconnect.status import State
from tests.clock import FakeClock
from tests.component.reconnect.conftest import PATIENCE_S, Account
from tests.people import BEACON
from tests.unit.reconnect.fakes import LongestWait


class Day:
    """A `DailyPresence` with a clock of its own."""

    def __init__(self, account: Account) -> None:
        self._clock = FakeClock()
        self._registry = CollectorRegistry()
        self.presence = DailyPresence(
            tell=account.supervisor.presence,
            clock=self._clock,
            rng=LongestWait(),
            metrics=PresenceMetrics(self._registry, "default"),
        )
        account.supervisor.subscribe(self.presence.on_status)
        self.presence.on_status(account.status)

    async def passes(self, seconds: float) -> None:
        """Let time pass, once that is waited for."""
        async with asyncio.timeout(PATIENCE_S):
            while seconds not in self._clock.sleeps:
                await asyncio.sleep(0)
        self._clock.advance(seconds)

    async def ends(self) -> dict[str, float]:
        """The results that there have been, once there is one."""
        name = "whatsapp_presence_announcements_total"
        async with asyncio.timeout(PATIENCE_S):
            while not self._clock.sleeps:
                await asyncio.sleep(0)
        return {
            sample.labels["result"]: sample.value
            for metric in self._registry.collect()
            for sample in metric.samples
            if sample.name == name and sample.value
        }


@asynccontextmanager
async def day_of(account: Account) -> AsyncIterator[Day]:
    day = Day(account)
    running = asyncio.create_task(day.presence.run())
    try:
        yield day
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_a_client_that_was_not_told_its_name_is_a_known_case(account: Account) -> None:
    await account.online()
    async with day_of(account) as day:
        await day.passes(STABLE_S)
        assert await day.ends() == {"no_push_name": 1}


async def test_whatsapp_sees_the_device_in_use_and_then_no_longer(account: Account) -> None:
    await account.online()
    with closing(sqlite3.connect(account.session.path)) as database:
        database.execute("UPDATE whatsmeow_device SET push_name = 'Beacon'")  # a phone would have told it
        database.commit()
    await account.supervisor.restart()
    await account.until(lambda status: status.state is not State.CONNECTED)
    await account.until_state(State.CONNECTED)

    def is_available() -> bool:
        return any(device.available for device in account.simulator.accounts[BEACON].devices.values())

    async with day_of(account) as day:
        await day.passes(STABLE_S)
        await account.simulator.wait_for(is_available)
        await day.passes(SHOWN_S[1])
        await account.simulator.wait_for(lambda: not is_available())
        assert await day.ends() == {"shown": 1}

"""Pacing in a running service, with real clients at both ends."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from service.demo.check import pair
from service.demo.host import POLL_S, Host
from service.demo.ledger import Ledger
from service.demo.people import BEACON, CONTACTS, contact
from service.simulator.server import Simulator

POSTPONED = "whatsapp_pace_postponed_total"
COOLDOWNS = "whatsapp_pace_cooldowns_total"
LIMITS = {
    "PACING": "on",
    "SEND_RATE": "600",
    "CHAT_GAP": "0.5-1",
    "NEW_CHATS_PER_DAY": "1",
    "NEW_CHAT_GAP": "0",
}


async def health(host: Host) -> str:
    """The health document, as text."""
    async with aiohttp.ClientSession() as http, http.get(f"{host.url}/healthz") as response:
        return await response.text()


@pytest.mark.timeout(300)
async def test_strangers_wait_and_whoever_wrote_is_answered_whatever_whatsapp_refused(tmp_path: Path) -> None:
    ledger = Ledger()
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator(tmp_path))
        for name in ("Ann", "Ben", "Cleo"):
            ledger.people[name] = await stack.enter_async_context(
                contact(name, CONTACTS[name], simulator=simulator, folder=tmp_path, heard=ledger.on_heard)
            )
        host = await stack.enter_async_context(Host(tmp_path, simulator.environment() | LIMITS, quiet=True))
        await pair(host, simulator)
        cleo = ledger.people["Cleo"]

        async def ping(times: int) -> None:
            """Cleo writes, and hears the answer."""
            await cleo.send(BEACON, "!ping")
            while len(cleo.inbox) < times:
                ledger.heard.clear()
                await ledger.heard.wait()

        await ledger.post(host, ["Ann"] * 3)
        await ledger.until_delivered(3)
        assert await host.metric("whatsapp_pace_strangers_left") == 0
        assert await host.metric(POSTPONED) >= 2, "the second and the third were put off for a moment"

        await ledger.post(host, ["Ben"])
        await ledger.post(host, ["Ann"])
        await ledger.until_delivered(4)
        await ping(1)
        assert ledger.people["Ben"].inbox == [], "the second stranger of the day waits"
        assert "NEW_CHATS_PER_DAY" in await health(host)

        simulator.faults.nack(463, BEACON)
        await ledger.post(host, ["Ann"])
        async with asyncio.timeout(60):
            while not await host.metric(COOLDOWNS):
                await asyncio.sleep(POLL_S)
        await ping(2)
        assert "WhatsApp refused a message to somebody new" in await health(host)

        await host.kill()
        await host.start()
        await host.until(lambda session: session["state"] == "connected")
        await ping(3)
        assert "WhatsApp refused a message to somebody new" in await health(host)
        assert len(ledger.people["Ann"].inbox) == 4
        assert (ledger.duplicates, ledger.out_of_order) == (0, 0)

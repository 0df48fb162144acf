"""What the engine takes from WhatsApp while the service stops is answered all the same, by the next life."""

import asyncio
import signal
from pathlib import Path

from service.demo.people import contact
from service.simulator.server import Simulator
from tests.e2e.process import beacon
from tests.people import ANN, BEACON, BEN


async def test_a_command_that_comes_during_a_stop_is_answered(tmp_path: Path) -> None:
    heard = asyncio.Event()
    async with (
        Simulator(tmp_path) as simulator,
        contact("Ann", ANN, simulator=simulator, folder=tmp_path, heard=heard.set) as ann,
    ):
        env = simulator.environment()
        async with beacon(tmp_path / "beacon", "demo", "--external", env=env) as running:
            simulator.register(BEN)
            shown = await running.until("/api/v1/session", lambda it: it["qr"] is not None)
            await simulator.scan(shown["qr"]["text"], BEACON)
            await running.until("/api/v1/session", lambda it: it["state"] == "connected")
            simulator.faults.swallow_acks(BEACON)  # a send on its way makes the stop last
            await running.post("/api/v1/messages", {"to": BEN, "text": "on its way"})
            await simulator.wait_for(lambda: simulator.accounts[BEACON].sent == 1)
            running.process.send_signal(signal.SIGTERM)
            await running.until("/readyz", lambda it: it["status"] == "fail")
            before = simulator.accounts[BEACON].received
            await ann.send(BEACON, "!ping")
            await simulator.wait_for(lambda: simulator.accounts[BEACON].received == before + 1)
            async with asyncio.timeout(60):
                await running.process.wait()
        simulator.faults.heal()
        async with beacon(tmp_path / "beacon", "demo", "--external", env=env):
            async with asyncio.timeout(60):
                while not ann.inbox:
                    heard.clear()
                    await heard.wait()
        assert "pong" in ann.inbox[0].lower()

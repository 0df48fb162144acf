"""How it stops: what is on its way may end, what waits stays kept, and a second signal does not wait."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from service.simulator.server import Simulator
from tests.e2e.process import Beacon, beacon
from tests.people import ANN, BEACON


@asynccontextmanager
async def sending_without_an_answer(tmp_path: Path) -> AsyncIterator[tuple[Beacon, str, Simulator]]:
    """A connected service, one message on its way that WhatsApp does not acknowledge, and WhatsApp."""
    async with (
        Simulator(tmp_path) as simulator,
        beacon(tmp_path / "beacon", "demo", "--external", env=simulator.environment()) as running,
    ):
        simulator.register(ANN)
        shown = await running.until("/api/v1/session", lambda it: it["qr"] is not None)
        await simulator.scan(shown["qr"]["text"], BEACON)
        await running.until("/api/v1/session", lambda it: it["state"] == "connected")
        simulator.faults.swallow_acks(BEACON)
        _, accepted = await running.post("/api/v1/messages", {"to": ANN, "text": "on its way"})
        await simulator.wait_for(lambda: simulator.accounts[BEACON].sent == 1)
        await running.until(f"/api/v1/messages/{accepted['id']}", lambda it: it["state"] == "sending")
        yield running, accepted["id"], simulator


async def test_it_is_not_ready_while_it_stops_and_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    async with sending_without_an_answer(tmp_path) as (running, message_id, _):
        running.process.send_signal(signal.SIGTERM)
        health = await running.until("/readyz", lambda it: it["status"] == "fail")
        assert "shutting down" in health["output"]
        assert (await running.get("/livez"))[0] == 200
        assert (await running.get(f"/api/v1/messages/{message_id}"))[1]["state"] == "sending"
        assert await running.end(signal.SIGTERM) == 0
        assert "Traceback" not in running.stderr.read_text()


async def test_what_was_on_its_way_at_a_stop_is_not_forgotten(tmp_path: Path) -> None:
    async with sending_without_an_answer(tmp_path) as (running, message_id, simulator):
        running.process.send_signal(signal.SIGTERM)
        await running.until("/readyz", lambda it: it["status"] == "fail")
        await running.end(signal.SIGTERM)

        # only once connected it is certain that no other process is still sending it
        environment = simulator.environment()
        async with beacon(tmp_path / "beacon", "demo", "--external", env=environment) as again:
            kept = await again.until(f"/api/v1/messages/{message_id}", lambda it: it["state"] != "sending")
            assert kept["state"] == "unknown"
            assert kept["whatsapp_id"]


async def test_ctrl_c_while_a_code_is_shown_ends_it_with_exit_code_0(tmp_path: Path) -> None:
    async with (
        Simulator(tmp_path) as simulator,
        beacon(tmp_path / "beacon", "demo", "--external", env=simulator.environment()) as running,
    ):
        await running.until("/api/v1/session", lambda it: it["qr"] is not None)
        assert await running.end(signal.SIGINT) == 0

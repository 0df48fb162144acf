"""An alert on its way: a real Alertmanager, the service with a real client, and a person who reads it."""

import asyncio
import subprocess
from pathlib import Path

from service.demo.people import contact
from service.simulator.server import Simulator
from tests.alertmanager import Alertmanager
from tests.e2e.process import beacon
from tests.e2e.test_send import port_of
from tests.people import ANN, BEACON

API_TOKEN, ALERTS_TOKEN = "correct-horse-battery", "alertmanager-0123456789"
DEADLINE_S = 60.0


def amtool(alertmanager: Alertmanager, *arguments: str) -> None:
    """Tell Alertmanager of an alert, as Prometheus does."""
    subprocess.run(
        ["amtool", "--alertmanager.url", alertmanager.url, "alert", "add", *arguments],
        check=True,
        capture_output=True,
        timeout=DEADLINE_S,
    )


async def test_an_alert_and_its_end_are_read_by_a_person(tmp_path: Path) -> None:
    heard = asyncio.Event()
    token = tmp_path / "token"
    token.write_text(ALERTS_TOKEN)
    async with (
        Simulator(tmp_path) as simulator,
        contact("Ann", ANN, simulator=simulator, folder=tmp_path, heard=heard.set) as ann,
        beacon(
            tmp_path / "beacon",
            *("demo", "--external"),
            env={
                **simulator.environment(),
                "API_TOKEN": API_TOKEN,
                "ALERTS_TOKEN": ALERTS_TOKEN,
                "ALERT_CHATS": f"+{ANN}",
                "LOG_FORMAT": "json",
            },
            headers={"Authorization": f"Bearer {API_TOKEN}"},
        ) as running,
    ):
        shown = await running.until("/api/v1/session", lambda it: it["qr"] is not None)
        await simulator.scan(shown["qr"]["text"], BEACON)
        await running.until("/api/v1/session", lambda it: it["state"] == "connected")
        webhook = {
            "url": f"http://127.0.0.1:{await port_of(running.http)}/api/v1/alerts",
            "send_resolved": True,
            "http_config": {"authorization": {"type": "Bearer", "credentials_file": str(token)}},
        }
        config = {
            "route": {
                "receiver": "beacon",
                "group_by": ["alertname"],
                "group_wait": "10ms",
                "group_interval": "1s",
            },
            "receivers": [{"name": "beacon", "webhook_configs": [webhook]}],
        }

        async def read(count: int) -> str:
            async with asyncio.timeout(DEADLINE_S):
                while len(ann.inbox) < count:
                    heard.clear()
                    await heard.wait()
            return ann.inbox[count - 1]

        async with Alertmanager(config) as alertmanager:
            lake = (
                *("alertname=LakeFrozen", "severity=warning", "lake=north"),
                "--annotation=summary=The lake is frozen.",
                "--annotation=runbook_url=https://runbooks.example/LakeFrozen.md",
            )
            await asyncio.to_thread(amtool, alertmanager, *lake)
            firing = await read(1)
            assert firing.startswith("*FIRING* LakeFrozen (warning)\nThe lake is frozen.\n")
            assert "lake=north" in firing
            assert "Runbook: https://runbooks.example/LakeFrozen.md" in firing

            await asyncio.to_thread(amtool, alertmanager, *lake, "--end=2026-01-01T00:00:00Z")
            assert (await read(2)).startswith("*RESOLVED* LakeFrozen (warning)")

        async with running.http.get("/metrics") as response:
            metrics = await response.text()
        told = 'whatsapp_alerts_received_total{account="default",outcome="queued",source="alertmanager"} 2.0'
        assert told in metrics
        seen = metrics + running.stderr.read_text() + running.stdout.read_text()
        assert [word for word in (ANN, "LakeFrozen", "north", ALERTS_TOKEN) if word in seen] == []

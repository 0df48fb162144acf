"""Nothing is known of WhatsApp yet, and there is no way to it: Beacon is up, says so, and keeps messages."""

import signal
import stat
from pathlib import Path

from tests.e2e.process import beacon
from tests.people import ANN

NOWHERE = {"WHATSAPP_PROXY": "http://127.0.0.1:9"}


async def test_it_answers_its_probes_and_says_why_it_is_not_connected(tmp_path: Path) -> None:
    async with beacon(tmp_path, env=NOWHERE) as running:
        session = await running.until("/api/v1/session", lambda it: it["state"] == "backing_off")
        assert session["reason"]
        assert session["advice"] == "check_network"

        assert (await running.get("/livez"))[0] == 200
        assert (await running.get("/readyz"))[0] == 200
        status, health = await running.get("/healthz")
        assert status == 200
        assert health["status"] == "warn"
        assert session["sentence"] in str(health["checks"]["whatsapp:connection"])


async def test_it_accepts_messages_and_keeps_them_through_a_kill(tmp_path: Path) -> None:
    async with beacon(tmp_path, env=NOWHERE) as running:
        status, accepted = await running.post("/api/v1/messages", {"to": ANN, "text": "keep me"})
        assert status == 202
        await running.end(signal.SIGKILL)

    async with beacon(tmp_path, env=NOWHERE) as again:
        status, kept = await again.get(f"/api/v1/messages/{accepted['id']}")
        assert (status, kept["state"]) == (200, "queued")


async def test_ctrl_c_ends_it_with_exit_code_0(tmp_path: Path) -> None:
    async with beacon(tmp_path, env=NOWHERE) as running:
        await running.until("/api/v1/session", lambda it: it["state"] == "backing_off")
        assert await running.end(signal.SIGINT) == 0
        assert "Traceback" not in running.stderr.read_text()


async def test_the_terminal_says_where_the_page_is_and_what_to_do(tmp_path: Path) -> None:
    async with beacon(tmp_path, env=NOWHERE) as running:
        await running.until("/api/v1/session", lambda it: it["state"] == "backing_off")
        told = running.stdout.read_text()
        assert str(running.http._base_url) in told
        assert "Check this machine's network" in told


async def test_what_it_writes_is_for_its_owner_only(tmp_path: Path) -> None:
    async with beacon(tmp_path, env=NOWHERE) as running:
        await running.post("/api/v1/messages", {"to": ANN, "text": "secret"})
        data = tmp_path / "data"
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        running.process.send_signal(signal.SIGSTOP)  # so that no file goes away while it is looked at
        open_to_others = [
            p.name for p in data.rglob("*") if p.is_file() and stat.S_IMODE(p.stat().st_mode) & 0o077
        ]
        assert open_to_others == []

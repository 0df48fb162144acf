"""A person writes to the bot with a real client: what comes back, and what can be seen of it."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from service.demo.people import Contact, contact
from service.simulator.server import Simulator
from tests.e2e.process import DEADLINE_S, Beacon, beacon
from tests.people import ANN, BEACON, BEN

PLUGIN = '''
"""A plugin of somebody else's."""

from service.bot.router import Context, Router


def register(router: Router) -> None:
    @router.command("double", help="twice the number")
    async def double(context: Context) -> None:
        await context.reply(str(2 * int(context.args[0])))
'''


@dataclass
class Conversation:
    """The service, paired, and Ann and Ben with clients of their own."""

    beacon: Beacon
    simulator: Simulator
    ann: Contact
    ben: Contact
    heard: asyncio.Event

    async def answer_to(self, person: Contact, text: str) -> str:
        """What comes back when this person writes that."""
        before = len(person.inbox)
        await person.send(BEACON, text)
        await self.until(lambda: len(person.inbox) > before)
        return person.inbox[-1]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when it holds; it is looked at whenever a person reads something."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self.heard.clear()
                await self.heard.wait()


@asynccontextmanager
async def conversation(tmp_path: Path, **settings: str) -> AsyncIterator[Conversation]:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "somebody_elses.py").write_text(PLUGIN)
    heard = asyncio.Event()
    async with (
        Simulator(tmp_path) as simulator,
        contact("Ann", ANN, simulator=simulator, folder=tmp_path, heard=heard.set) as ann,
        contact("Ben", BEN, simulator=simulator, folder=tmp_path, heard=heard.set) as ben,
        beacon(
            tmp_path / "beacon",
            *("demo", "--external"),
            env={
                **simulator.environment(),
                "PYTHONPATH": str(plugins),
                "BOT_PLUGINS": "somebody_elses",
                "BOT_ADMINS": BEN,
                "LOG_FORMAT": "json",
                **{name.upper(): value for name, value in settings.items()},
            },
        ) as running,
    ):
        shown = await running.until("/api/v1/session", lambda it: it["qr"] is not None)
        await simulator.scan(shown["qr"]["text"], BEACON)
        await running.until("/api/v1/session", lambda it: it["state"] == "connected")
        yield Conversation(running, simulator, ann, ben, heard)


async def test_commands_are_answered_and_seen_without_saying_who_or_what(tmp_path: Path) -> None:
    async with conversation(tmp_path) as talk:
        assert "pong" in (await talk.answer_to(talk.ann, "!ping")).lower()
        assert await talk.answer_to(talk.ann, "!double 21") == "42"
        assert "sorry" in (await talk.answer_to(talk.ann, "!double trouble")).lower()
        assert "connected" in await talk.answer_to(talk.ben, "!status")
        assert "connected" not in await talk.answer_to(talk.ann, "!status")
        assert "!double" in await talk.answer_to(talk.ann, "!help")

        status, sent = await talk.beacon.post("/api/v1/messages", {"to": ANN, "text": "Parcel is here"})
        assert status == 202
        await talk.beacon.until(f"/api/v1/messages/{sent['id']}", lambda it: it["state"] == "delivered")
        await talk.until(lambda: talk.ann.inbox[-1] == "Parcel is here")

        async with talk.beacon.http.get("/metrics") as response:
            metrics = await response.text()
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=metrics, capture_output=True, text=True, check=False
        )
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
        assert 'whatsapp_connected{account="default"} 1.0' in metrics

        seen = metrics + talk.beacon.stderr.read_text() + talk.beacon.stdout.read_text()
        told = (ANN, BEN, BEACON, "Parcel", "pong", "!double", "Ann", "Ben")
        assert [word for word in told if re.search(rf"\b{re.escape(word)}\b", seen)] == []

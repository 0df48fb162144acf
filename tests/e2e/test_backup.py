"""The service loses its disk, and nobody scans a code again: what was kept elsewhere comes back."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.demo.check import pair
from service.demo.host import Host
from service.demo.people import BEACON, Contact, contact
from service.simulator.server import Simulator
from tests.people import ANN

KEY = "0f" * 32
PATIENCE_S = 60.0


@dataclass
class Dyno:
    """A service whose folder may be lost, a backup folder that stays, and Ann with a client of her own."""

    host: Host
    ann: Contact
    simulator: Simulator
    folder: Path
    heard: asyncio.Event

    @property
    def data(self) -> Path:
        """DATA_DIR."""
        return self.folder / "service"

    async def delivers(self, text: str) -> None:
        """The service sends Ann a message, and she reads it."""
        await self.host.post([{"to": ANN, "text": text}])
        await self.hears(lambda: text in self.ann.inbox)

    async def answers(self) -> None:
        """Ann writes to the bot, and reads its answer."""
        before = len(self.ann.inbox)
        await self.ann.send(BEACON, "!ping")
        await self.hears(lambda: len(self.ann.inbox) > before)

    async def backed_up(self, more_than: float = 0) -> None:
        """The session has been kept since it was paired."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.host.metric("whatsapp_backup_kept") <= more_than:
                await asyncio.sleep(0.05)

    async def starts_without_its_disk(self) -> dict[str, Any]:
        """DATA_DIR is gone; the log line of what came back, once it is connected."""
        shutil.rmtree(self.data)
        await self.host.start()
        states = set()
        await self.host.until(lambda it: states.add(it["state"]) or it["state"] == "connected")  # type: ignore[func-returns-value]
        assert "pairing" not in states, "nobody should have to scan"
        return self.said("backup.restored")[-1]

    def said(self, event: str) -> list[dict[str, Any]]:
        """The log lines of that event."""
        lines = (self.folder / "service.log").read_text().rpartition("\n")[0].splitlines()
        told = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in told if line["event"] == event]

    async def hears(self, has: Any) -> None:
        """Wait until that holds; it is looked at after each message that somebody read."""
        async with asyncio.timeout(PATIENCE_S):
            while not has():
                self.heard.clear()
                await self.heard.wait()


@asynccontextmanager
async def dyno(folder: Path, **settings: str) -> AsyncIterator[Dyno]:
    heard = asyncio.Event()
    async with (
        Simulator(folder) as simulator,
        contact("Ann", ANN, simulator=simulator, folder=folder, heard=heard.set) as ann,
        Host(
            folder,
            {
                **simulator.environment(),
                "BACKUP_DIR": str(folder / "kept"),
                "BACKUP_KEYS": KEY,
                "LOG_FORMAT": "json",
                **settings,
            },
            quiet=True,
        ) as host,
    ):
        await pair(host, simulator)
        yield Dyno(host, ann, simulator, folder, heard)


async def test_after_an_orderly_stop_the_very_session_comes_back(tmp_path: Path) -> None:
    async with dyno(tmp_path) as bot:
        await bot.delivers("one")
        await bot.answers()
        assert await bot.host.stop() == 0
        restored = await bot.starts_without_its_disk()
        assert (restored["kind"], restored["sessions_dropped"]) == ("exact", 0)
        await bot.delivers("two")
        await bot.answers()
        assert await bot.host.metric("whatsapp_backup_undecryptable_total") == 0


async def test_after_a_kill_ratchets_are_begun_anew_and_messages_go_both_ways(tmp_path: Path) -> None:
    async with dyno(tmp_path) as bot:
        await bot.backed_up()
        await bot.delivers("one")
        await bot.answers()
        await bot.host.kill()
        restored = await bot.starts_without_its_disk()
        assert restored["kind"] == "ratchets_dropped"
        await bot.delivers("two")
        await bot.answers()


async def test_a_restart_with_its_disk_brings_nothing_back(tmp_path: Path) -> None:
    async with dyno(tmp_path) as bot:
        await bot.delivers("one")
        await bot.host.stop()
        await bot.host.start()
        await bot.delivers("two")
        await bot.host.kill()
        await bot.host.start()
        await bot.delivers("three")
        assert bot.said("backup.restored") == []
        assert await bot.host.metric("whatsapp_backup_sessions_dropped_total") == 0


async def test_what_the_operator_cleared_does_not_come_back_even_without_its_disk(tmp_path: Path) -> None:
    async with dyno(tmp_path) as bot:
        await bot.backed_up()
        await bot.host.stop()
        (bot.data / "session.cleared").touch()
        for path in bot.data.glob("session.*db*"):
            path.unlink()
        (bot.data / "session.db").unlink(missing_ok=True)
        await bot.host.start()
        await bot.host.until(lambda it: it["qr"] is not None)
        async with asyncio.timeout(PATIENCE_S):
            while not bot.said("backup.buried"):
                await asyncio.sleep(0.05)
        await bot.host.kill()
        shutil.rmtree(bot.data)
        await bot.host.start()
        await bot.host.until(lambda it: it["qr"] is not None)
        assert bot.said("backup.restored") == []

"""Two services with one account: one connects, and only its backups count."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.backup.vault_directory import DirectoryVault
from service.demo.check import pair
from service.demo.host import Host
from service.demo.people import BEACON, Contact, contact
from service.simulator.server import Simulator
from tests.component.postgres import Postgres
from tests.people import ANN

PATIENCE_S = 60.0


@dataclass
class Rivals:
    """Two services that share a place for backups, each with a disk of its own. Neither is started."""

    first: Host
    second: Host
    simulator: Simulator
    ann: Contact
    folder: Path
    heard: asyncio.Event
    asked_for_a_phone: bool = field(default=False)

    async def connects(self, host: Host) -> None:
        """It is logged in, and no phone was asked for."""

        def connected(session: dict[str, Any]) -> bool:
            self.asked_for_a_phone |= session["qr"] is not None
            return bool(session["state"] == "connected")

        await host.until(connected)
        assert not self.asked_for_a_phone

    async def sends(self, host: Host, *texts: str) -> None:
        """Ann reads all that is handed in there."""
        await host.post([{"to": ANN, "text": text} for text in texts])
        async with asyncio.timeout(PATIENCE_S):
            while not set(texts) <= set(self.ann.inbox):
                self.heard.clear()
                await self.heard.wait()

    def said(self, name: str, event: str) -> list[dict[str, Any]]:
        """The log lines of that event, by the service of that name."""
        lines = (self.folder / name / "service.log").read_text().rpartition("\n")[0].splitlines()
        told = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in told if line["event"] == event]


@asynccontextmanager
async def rivals(folder: Path, **settings: str) -> AsyncIterator[Rivals]:
    async with AsyncExitStack() as stack:
        heard = asyncio.Event()
        simulator = await stack.enter_async_context(Simulator(folder))
        ann = await stack.enter_async_context(
            contact("Ann", ANN, simulator=simulator, folder=folder, heard=heard.set)
        )
        environment = {
            **simulator.environment(),
            "BACKUP_KEYS": secrets.token_hex(32),
            "LOG_FORMAT": "json",
            **settings,
        }
        hosts = []
        for name in ("first", "second"):
            (folder / name).mkdir()
            hosts.append(Host(folder / name, environment, quiet=True))
        await stack.enter_async_context(hosts[0])
        await pair(hosts[0], simulator)
        yield Rivals(hosts[0], hosts[1], simulator, ann, folder, heard)


async def back_up(host: Host) -> tuple[int, dict[str, Any]]:
    """Ask for a backup; status and answer."""
    async with aiohttp.ClientSession(host.url) as http, http.post("/api/v1/backups") as response:
        return response.status, await response.json(content_type=None)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


async def test_whoever_takes_over_goes_on_from_the_others_backup_and_never_from_a_stale_disk(
    tmp_path: Path, postgres: Postgres
) -> None:
    url = postgres.url(await postgres.create())
    async with rivals(tmp_path, DATABASE_URL=url) as both:
        await both.sends(both.first, "one")
        assert (await back_up(both.first))[0] == 200
        async with both.second:
            await both.second.until(lambda session: session["reason"] == "lease_held_elsewhere")
            assert both.said("second", "backup.restored") == [], "who only waits brings nothing back"
            status, answer = await back_up(both.second)
            assert status != 200, answer

            await both.first.kill()
            await both.connects(both.second)
            assert both.said("second", "backup.restored")[-1]["kind"] == "ratchets_dropped"
            await both.first.start()
            await both.first.until(lambda session: session["reason"] == "lease_held_elsewhere")
            await both.sends(both.second, *(f"by the second {number}" for number in range(20)))

            assert await both.second.stop() == 0
            await both.connects(both.first)
            restored = both.said("first", "backup.restored")[-1]
            assert (restored["kind"], restored["sessions_dropped"]) == ("exact", 0)
            await both.sends(both.first, *(f"by the first {number}" for number in range(10)))
        assert both.simulator.accounts[BEACON].next_device == 2, "a phone was linked once"


async def test_without_a_database_the_later_one_wins_and_the_earlier_one_overwrites_nothing(
    tmp_path: Path,
) -> None:
    kept = tmp_path / "kept"
    async with rivals(tmp_path, BACKUP_DIR=str(kept)) as both:
        await both.sends(both.first, "one")
        assert (await back_up(both.first))[0] == 200
        async with both.second:
            await both.connects(both.second)
            assert both.said("second", "backup.restored")[-1]["kind"] == "ratchets_dropped"
            await both.first.until(lambda session: session["state"] == "replaced")
            await both.sends(both.second, "two")
            assert (await back_up(both.second))[0] == 200
            newest = await newest_epoch(kept)

            status, answer = await back_up(both.first)
            assert (status, answer["type"].rpartition(":")[2]) == (409, "not-owner"), answer
            assert await both.first.stop() == 0
            assert await newest_epoch(kept) == newest
            await both.sends(both.second, "three")


async def newest_epoch(kept: Path) -> tuple[int, int]:
    """Sequence and epoch of the newest backup there."""
    vault = DirectoryVault(kept, account="default")
    await vault.open()
    try:
        newest = (await vault.listed())[0]
        return newest.sequence, newest.epoch
    finally:
        await vault.close()

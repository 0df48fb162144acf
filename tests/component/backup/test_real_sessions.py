"""Real clients' sessions, kept and brought back: what is sent afterwards arrives, in both directions."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.backup.model import Cause
from service.backup.vault import Vault
from service.engine.protocol import Connected, MessageReceived, QrCode
from service.simulator.server import Simulator
from tests.clock import FakeClock
from tests.component.backup.house import House
from tests.component.engine.world import Engine, World
from tests.people import ANN, BEACON


@dataclass
class Street:
    """Houses that own the account one after the other, and Ann."""

    world: World
    ann: Engine
    vault: Vault
    account: str
    folder: Path
    clock: FakeClock

    async def moves_in(self, name: str, fence: int) -> tuple[House, Engine]:
        """A process with a disk of its own takes the account over and connects."""
        house = House(self.folder / name, self.vault, account=self.account, clock=self.clock)
        await house.takes_over(fence)
        house.local.adopt()
        engine = self.world.engine(BEACON)
        engine.session = house.file
        await engine.process.start()
        if await house.file.device_jid() is not None:
            await engine.online()
            return house, engine
        await engine.connect()
        return house, engine

    async def arrive(self, texts: list[str]) -> None:
        """Ann has read all of them."""
        for text in texts:
            await self.ann.told(MessageReceived, lambda event, text=text: event.text == text)  # type: ignore[misc]

    async def talk(self, engine: Engine, texts: list[str]) -> None:
        """The account writes to Ann, and she reads it."""
        for text in texts:
            await engine.sent(self.ann.jid, text)
        await self.arrive(texts)


@pytest.fixture
async def street(simulator: Simulator, tmp_path: Path, vault: Vault, account: str) -> AsyncIterator[Street]:
    world = World(simulator, tmp_path)
    try:
        ann = await world.online(ANN)
        yield Street(world, ann, vault, account, tmp_path, FakeClock())
    finally:
        await world.close()


async def paired(street: Street) -> tuple[House, Engine]:
    """The first house, linked to the phone."""
    house, engine = await street.moves_in("first", 1)
    shown = await engine.told(QrCode)
    await street.world.simulator.scan(shown.code, BEACON)
    await engine.told(Connected)
    return house, engine


async def test_after_an_orderly_stop_the_conversation_goes_on(street: Street) -> None:
    first, engine = await paired(street)
    await street.talk(engine, ["one", "two"])
    await engine.process.stop()
    await first.leaves()

    second, engine = await street.moves_in("second", 2)
    assert second.counted("restores_total", kind="exact") == 1
    await street.talk(engine, ["three"])
    await street.ann.sent(f"{BEACON}@s.whatsapp.net", "and back")
    await engine.told(MessageReceived, lambda event: event.text == "and back")


async def test_a_backup_from_twenty_messages_ago_loses_none_of_the_next_ten(street: Street) -> None:
    first, engine = await paired(street)
    await street.talk(engine, ["hello"])
    await street.ann.sent(f"{BEACON}@s.whatsapp.net", "hello to you")
    await engine.told(MessageReceived, lambda event: event.text == "hello to you")
    assert (await first.backups.back_up(Cause.CHANGED)).outcome.success
    await street.talk(engine, [f"before {number}" for number in range(20)])
    await engine.process.kill()

    second, engine = await street.moves_in("second", 2)
    assert second.counted("restores_total", kind="ratchets_dropped") == 1
    assert second.counted("sessions_dropped_total") >= 1
    await street.talk(engine, [f"after {number}" for number in range(10)])


async def test_after_a_restore_the_peer_may_write_first(street: Street) -> None:
    first, engine = await paired(street)
    await street.talk(engine, ["hello"])
    assert (await first.backups.back_up(Cause.CHANGED)).outcome.success
    await street.talk(engine, [f"before {number}" for number in range(20)])
    await engine.process.kill()

    _, engine = await street.moves_in("second", 2)
    for number in range(3):
        await street.ann.sent(f"{BEACON}@s.whatsapp.net", f"first {number}")
    for number in range(3):
        await engine.told(MessageReceived, lambda event, number=number: event.text == f"first {number}")  # type: ignore[misc]
    await street.talk(engine, ["heard you"])

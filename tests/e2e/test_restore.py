"""A session comes back in an older state than people's clients know: not one message is lost by that.

What would happen without care was measured: of ten messages WhatsApp acknowledges ten and people read none,
because keys were used a second time.
"""

from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.demo.people import BEACON, Contact, contact
from tests.e2e.test_backup import Dyno, dyno
from tests.people import ANN, BEN
from tests.witness import Witness

LATER = [f"later {number}" for number in range(20)]
AFTER = [f"after {number}" for number in range(10)]
KEPT = "whatsapp_backup_kept"

Snapshot = Callable[[Dyno], Coroutine[Any, Any, None]]


async def by_hand(bot: Dyno) -> None:
    """Keep the session as it is now."""
    async with aiohttp.ClientSession(bot.host.url) as http, http.post("/api/v1/backups") as response:
        assert response.status == 200, await response.text()


async def at_a_stop(bot: Dyno) -> None:
    """Stop in good order, which keeps the session and calls it clean, and go on from the same disk."""
    await bot.host.stop()
    await bot.host.start()
    await bot.host.until(lambda session: session["state"] == "connected")


async def send(bot: Dyno, to: str, texts: Sequence[str], *readers: Contact) -> None:
    """Hand in these messages and wait until each of these people has read every one, once."""
    await bot.host.post([{"to": to, "text": text} for text in texts])
    for reader in readers:
        await bot.hears(lambda reader=reader: set(texts) <= set(reader.inbox))
        counts = Counter(reader.inbox)
        assert {text: counts[text] for text in texts} == dict.fromkeys(texts, 1)


async def disaster(bot: Dyno) -> None:
    """Killed, and its disk is gone; twenty messages have been sent since the newest backup."""
    await bot.host.kill()
    restored = await bot.starts_without_its_disk()
    assert restored["kind"] == "ratchets_dropped"
    assert restored["sessions_dropped"] >= 1


@pytest.mark.parametrize("snapshot", [by_hand, at_a_stop])
async def test_ten_of_ten_arrive_after_a_stale_restore(tmp_path: Path, snapshot: Snapshot) -> None:
    async with dyno(tmp_path) as bot:
        await send(bot, ANN, ["before"], bot.ann)
        await bot.answers()
        await snapshot(bot)
        kept = await bot.host.metric(KEPT)

        await send(bot, ANN, LATER, bot.ann)
        assert await bot.host.metric(KEPT) == kept, "nothing newer than the snapshot may be kept"
        await disaster(bot)

        await send(bot, ANN, AFTER, bot.ann)
        await bot.answers()


async def test_a_group_reads_ten_of_ten_after_a_stale_restore(tmp_path: Path) -> None:
    async with (
        dyno(tmp_path) as bot,
        contact("Ben", BEN, simulator=bot.simulator, folder=tmp_path, heard=bot.heard.set) as ben,
    ):
        group = bot.simulator.create_group("Tides", BEACON, ANN, BEN)
        await send(bot, group, ["before"], bot.ann, ben)
        await by_hand(bot)
        kept = await bot.host.metric(KEPT)

        await send(bot, group, LATER, bot.ann, ben)
        assert await bot.host.metric(KEPT) == kept, "nothing newer than the snapshot may be kept"
        await disaster(bot)

        await send(bot, group, AFTER, bot.ann, ben)
        await send(bot, BEN, ["to Ben alone"], ben)


async def test_a_peer_that_writes_first_after_a_stale_restore_is_read(tmp_path: Path) -> None:
    witness = Witness(tmp_path / "witness.txt")
    async with dyno(tmp_path, **witness.environment()) as bot:
        await send(bot, ANN, ["before"], bot.ann)
        await bot.answers()
        await by_hand(bot)
        kept = await bot.host.metric(KEPT)

        await send(bot, ANN, LATER, bot.ann)
        assert await bot.host.metric(KEPT) == kept, "nothing newer than the snapshot may be kept"
        await bot.host.kill()
        await bot.ann.send(BEACON, Witness.tell("written while nobody was there"))
        restored = await bot.starts_without_its_disk()
        assert restored["kind"] == "ratchets_dropped"

        letters = ["written while nobody was there", *(f"letter {number}" for number in range(9))]
        await bot.simulator.wait_for(lambda: witness.told == letters[:1])
        for letter in letters[1:]:
            await bot.ann.send(BEACON, Witness.tell(letter))
        await bot.simulator.wait_for(lambda: witness.told == letters)
        assert await bot.host.metric("whatsapp_backup_undecryptable_total") >= 1, "it had to be asked for"

        await send(bot, ANN, AFTER, bot.ann)

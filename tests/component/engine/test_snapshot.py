"""A real session, copied while whatsmeow writes to it."""

import asyncio
import os
from pathlib import Path

import pytest

from service.backup.checks import check
from service.backup.model import Refusal
from service.backup.snapshot import Facts, take_snapshot
from service.engine.protocol import MessageReceived
from service.engine.session import SessionFile
from service.errors import SnapshotRefused
from tests.component.engine.world import World
from tests.people import ANN, BEN

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRETS = "whatsmeow_message_secrets"


def copied(session: Path, copy: Path, *, device: str | None, before: Facts | None = None) -> Facts:
    take_snapshot(session, copy)
    return check(copy, expected_device=device, before=before.rows if before else None)


async def test_each_copy_beside_a_sending_engine_is_fit_and_holds_what_was_sent_before(
    world: World, tmp_path: Path
) -> None:
    ann, ben = await world.online(ANN), await world.online(BEN)
    device = await ann.session.device_jid()
    before = None
    for number in range(5):
        secret = os.urandom(32)
        await ann.send(ben.jid, f"before copy {number}", secret=secret)
        meanwhile = asyncio.create_task(ann.sent(ben.jid, f"beside copy {number}"))
        copy = tmp_path / f"{number}.db"
        facts = await asyncio.to_thread(copied, ann.session.path, copy, device=device, before=before)
        sent = await meanwhile

        assert await SessionFile(copy).find_message_id(secret) is not None
        assert facts.rows["whatsmeow_device"] == 1
        assert facts.rows[SECRETS] > (before.rows[SECRETS] if before else 0)
        await ben.told(MessageReceived, lambda message, sent=sent: message.id == sent.message_id)  # type: ignore[misc]
        before = facts
    await world.leave(ann)
    await world.leave(ben)


async def test_a_session_that_was_logged_out_replaces_nothing(world: World, tmp_path: Path) -> None:
    ann = await world.online(ANN)
    device = await ann.session.device_jid()
    good = await asyncio.to_thread(copied, ann.session.path, tmp_path / "good.db", device=device)
    await world.leave(ann)
    await ann.session.forget_device()

    assert ann.session.path.stat().st_size >= good.size_bytes
    with pytest.raises(SnapshotRefused) as caught:
        copied(ann.session.path, tmp_path / "later.db", device=device, before=good)
    assert caught.value.reason == Refusal.NO_DEVICE

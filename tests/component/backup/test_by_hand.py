"""`beacon backup restore` and `rotate-key` on a real folder of backups: what is in the way, what is kept."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from opentelemetry.trace import NoOpTracer

from service.backup.local import Found, Local
from service.cli import main
from service.datadir import DataDir
from service.telemetry.registry import build_registry
from tests.clock import FakeClock
from tests.component.web.backed_up import KEY, BackedUp
from tests.unit.backup.sessions import DEVICE

NEW_KEY = "ab" * 32


@pytest.fixture
async def kept(tmp_path: Path) -> BackedUp:
    """A service that has made one backup and ended; its session is still there."""
    made = backed_up(tmp_path)
    await made.own()
    assert (await made.desk.back_up()).outcome.success
    await made.close()
    return made


def backed_up(folder: Path) -> BackedUp:
    return BackedUp(folder, registry=build_registry("default"), clock=FakeClock(), tracer=NoOpTracer())


async def command(kept: BackedUp, *arguments: str, keys: str = KEY) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `beacon backup ARGUMENTS`."""
    env = {**kept.environment, "BACKUP_KEYS": keys, "PORT": "1"}
    result = await asyncio.to_thread(CliRunner().invoke, main, ["backup", *arguments], env=env)
    return result.exit_code, result.stdout, result.stderr


def aside(kept: BackedUp) -> list[Path]:
    return [path for path in kept.file.path.parent.glob("session.db.*-*") if not path.name.endswith("-wal")]


async def test_a_lost_session_is_put_in_place_and_the_next_service_connects_with_it(
    kept: BackedUp, tmp_path: Path
) -> None:
    kept.file.remove()
    assert kept.file.cleared
    code, out, err = await command(kept, "restore", "--json")
    restored = json.loads(out)
    assert (code, restored["sequence"], restored["kind"]) == (0, 1, "ratchets_dropped"), err
    assert await kept.file.device_jid() == DEVICE
    assert not kept.file.cleared, "what was cleared before is of the past"
    assert aside(kept) == []

    before = kept.file.identity()
    service = backed_up(tmp_path)
    await service.parts.custody.admit(2, lambda _: None)
    assert service.desk.status().restore is None, "what was restored by hand is not replaced"
    assert service.file.identity() == before
    assert await service.file.device_jid() == DEVICE
    await service.close()


async def test_a_session_that_can_be_used_is_in_the_way_unless_it_shall_be_moved(kept: BackedUp) -> None:
    here = kept.file.path.read_bytes()
    code, out, err = await command(kept, "restore")
    assert (code, out) == (73, "")
    assert "--force moves it aside" in err
    assert kept.file.path.read_bytes() == here

    identity = kept.file.identity()
    code, out, _ = await command(kept, "restore", "1", "--force")
    assert code == 0
    assert out.startswith("backup 1 of 2023-11-14T22:13:20.000Z is in ")
    (moved,) = aside(kept)
    assert Local(type(kept.file)(moved)).look() is Found.DEVICE
    assert moved.stat().st_mode & 0o777 == 0o600
    assert kept.file.identity() != identity, "ids of messages that were sent since cannot be found in it"


async def test_a_damaged_session_is_moved_aside_unasked(kept: BackedUp) -> None:
    kept.file.path.write_bytes(b"SQLite format 3\0" + bytes(8192))
    assert (await command(kept, "restore"))[0] == 0
    assert len(aside(kept)) == 1
    assert await kept.file.device_jid() == DEVICE


async def test_a_damaged_backup_leaves_what_is_there(kept: BackedUp) -> None:
    kept.damage()
    here = kept.file.path.read_bytes()
    code, _, err = await command(kept, "restore", "--force")
    assert (code, "is damaged" in err) == (65, True)
    assert kept.file.path.read_bytes() == here
    assert aside(kept) == []


async def test_nothing_is_done_while_a_service_runs_on_the_folder(kept: BackedUp) -> None:
    with DataDir(kept.file.path.parent):
        code, _, err = await command(kept, "restore", "--force")
        assert (code, "stop it first, or give --to FILE" in err) == (75, True)
        code, _, err = await command(kept, "rotate-key")
        assert (code, "name it with --url" in err) == (75, True)
        assert (await command(kept, "verify"))[0] == 0
        assert (await command(kept, "restore", "--to", str(kept.kept_in.parent / "copy.db")))[0] == 0


async def test_nothing_to_restore_is_said(tmp_path: Path) -> None:
    empty = backed_up(tmp_path)
    code, _, err = await command(empty, "restore")
    assert (code, err) == (66, "beacon: there is no backup yet\n")


async def test_a_new_first_key_seals_the_newest_and_the_old_one_is_said_to_be_needed(kept: BackedUp) -> None:
    code, out, _ = await command(
        kept,
        "rotate-key",
        keys=f"{NEW_KEY},{KEY}",
    )
    first, second = out.splitlines()
    assert code == 0
    assert first.startswith("backup 2 is now sealed with key ")
    assert second.startswith("1 older ones need key ")
    assert "was already" in (await command(kept, "rotate-key", keys=f"{NEW_KEY},{KEY}"))[1]
    assert (await command(kept, "verify", keys=NEW_KEY))[0] == 0
    assert (await command(kept, "verify", "1", keys=NEW_KEY))[0] == 78

"""A ban is waited out by the next process, too."""

import asyncio
from pathlib import Path

import pytest

from service.engine.protocol import ClientOutdated, ConnectFailure, LoggedOut, StreamReplaced, TemporaryBan
from service.reconnect.deadlines import Deadline, DeadlineFile
from service.reconnect.reason import Reason
from service.reconnect.status import State
from tests.unit.reconnect.fakes import World

HOUR = 3600.0
BAN = TemporaryBan(code=104, expire_s=HOUR)


async def banned() -> Deadline:
    """What a process leaves that was stopped in the midst of a ban of an hour (and a fifth)."""
    async with World().lives() as world:
        await world.happens(BAN)
    assert world.deadlines.kept == Deadline(Reason.BAN_SAME_TEXT, world.clock.now() + 1.2 * HOUR)
    return world.deadlines.kept


def later(kept: Deadline) -> World:
    """Another process, which finds that."""
    world = World()
    world.deadlines.kept = kept
    world.starts_engine = False
    return world


async def test_a_new_process_waits_for_the_end_of_the_ban_and_says_so() -> None:
    async with later(await banned()).lives() as world:
        assert (world.state(), world.status.reason) == (State.BANNED, Reason.BAN_SAME_TEXT)
        assert world.status.next_attempt_at == world.clock.now() + 1.2 * HOUR
        await world.passes(1.2 * HOUR - 1)
        assert not world.engines
        await world.passes(1)
        assert len(world.logins) == 1
        assert world.deadlines.kept is None


async def test_the_operator_s_restart_ends_it() -> None:
    async with later(await banned()).lives() as world:
        await world.supervisor.restart()
        await world.settle()
        assert len(world.logins) == 1
        assert world.deadlines.kept is None


async def test_the_operator_s_restart_ends_it_without_the_lease_too() -> None:
    world = later(await banned())
    world.lease.keep_away()
    async with world.lives():
        await world.supervisor.restart()
        await world.settle()
        assert world.state() is State.WAITING_FOR_LEASE
        world.lease.lose()
        await world.settle()
        assert len(world.logins) == 1


async def test_a_ban_that_is_over_is_nothing() -> None:
    world = World()
    world.deadlines.kept = Deadline(Reason.BAN_SAME_TEXT, world.clock.now() - 1)
    async with world.lives():
        assert len(world.logins) == 1


async def test_a_lost_lease_forgets_no_ban() -> None:
    async with World().lives() as world:
        await world.happens(BAN)
        kept = world.deadlines.kept
        world.lease.lose()
        await world.settle()
        assert world.state() is State.BANNED
        assert world.deadlines.kept == kept


@pytest.mark.parametrize(
    "event",
    [StreamReplaced(), ClientOutdated(), LoggedOut(on_connect=True, reason=401)],
    ids=["replaced", "outdated", "logged out"],
)
async def test_what_a_restart_of_the_process_may_cure_is_not_kept(
    event: StreamReplaced | ClientOutdated | LoggedOut,
) -> None:
    async with World().lives() as world:
        await world.happens(event)
        assert world.deadlines.kept is None


async def test_a_cool_down_is_kept() -> None:
    async with World().lives() as world:
        await world.happens(ConnectFailure(reason=501, text=""))
        assert world.deadlines.kept is not None
        assert world.deadlines.kept.reason is Reason.REFUSED_EXPERIMENTAL


# --- the file -------------------------------------------------------------------------------------


async def write(path: Path, *deadlines: Deadline | None) -> None:
    file = DeadlineFile(path)
    file.load()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(file.run())
        for deadline in deadlines:
            file.keep(deadline)
        file.close()


async def test_the_file_is_read_as_it_was_written_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deadline.json"
    await write(path, Deadline(Reason.BAN_UNKNOWN, 1.5))
    assert DeadlineFile(path).load() == Deadline(Reason.BAN_UNKNOWN, 1.5)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["deadline.json"]


async def test_the_last_one_is_the_one_that_stays(tmp_path: Path) -> None:
    path = tmp_path / "deadline.json"
    await write(path, Deadline(Reason.BAN_UNKNOWN, 1.0), Deadline(Reason.BAN_STRANGERS, 2.0))
    assert DeadlineFile(path).load() == Deadline(Reason.BAN_STRANGERS, 2.0)
    await write(path, None)
    assert not path.exists()
    assert DeadlineFile(path).load() is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"reason": "ban_unknown"}',
        b'{"reason": "x", "until": 1}',
        b'{"reason": "connected", "until": 1}',
        b'{"reason": "ban_unknown", "until": Infinity}',
    ],
)
def test_a_file_that_is_not_understood_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "deadline.json"
    path.write_bytes(content)
    assert DeadlineFile(path).load() is None


async def test_a_folder_that_cannot_be_written_does_not_end_the_connection(tmp_path: Path) -> None:
    await write(tmp_path / "gone" / "deadline.json", Deadline(Reason.BAN_UNKNOWN, 1.0))

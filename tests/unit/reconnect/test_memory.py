"""An engine that grows too large is replaced before the container ends everything."""

import asyncio
from pathlib import Path

import pytest

from service.engine.protocol import Heartbeat
from service.reconnect.memory import container_limit, engine_share
from service.reconnect.reason import Reason
from service.reconnect.status import State
from tests.unit.reconnect.fakes import World

MB = 1_000_000


def beat(resident_bytes: int) -> Heartbeat:
    return Heartbeat(
        connected=True,
        logged_in=True,
        events_queued=0,
        sends_at_hand=0,
        resident_bytes=resident_bytes,
        threads=0,
        open_fds=0,
        unraisable=0,
    )


async def test_an_engine_over_the_limit_ends_gently_and_is_replaced_at_once() -> None:
    async with World(memory_limit_bytes=300 * MB).lives() as world:
        await world.connects()
        await world.happens(beat(300 * MB))
        assert world.state() is State.CONNECTED
        world.end_takes_s = 4.0
        await world.happens(beat(301 * MB))
        assert (world.state(), world.status.reason) == (State.CONNECTING, Reason.MEMORY_LIMIT)
        assert world.engine.ended_by == "stop", "a send under way may end"
        await world.passes(4)
        await world.connects()
        assert (world.state(), len(world.logins)) == (State.CONNECTED, 2)
        assert world.metric("whatsapp_engine_recycles_total", reason="memory_limit") == 1
        assert world.metric("whatsapp_engine_memory_limit_bytes") == 300 * MB


async def test_one_that_is_over_the_limit_again_is_left_alone_for_ten_minutes() -> None:
    async with World(memory_limit_bytes=1).lives() as world:
        await world.connects()
        await world.happens(beat(2))
        for _ in range(9):
            await world.connects()
            await world.passes(60)
            await world.happens(beat(2))
        assert len(world.logins) == 2
        await world.passes(60)
        await world.happens(beat(2))
        assert len(world.logins) == 3


async def test_without_a_limit_nothing_is_too_large() -> None:
    async with World().lives() as world:
        await world.connects()
        await world.happens(beat(10**12))
        assert world.state() is State.CONNECTED
        assert world.metric("whatsapp_engine_memory_limit_bytes") == 0


async def test_a_lost_lease_does_not_wait_for_the_gentle_end() -> None:
    async with World(memory_limit_bytes=1).lives() as world:
        await world.connects()
        world.end_takes_s = 4.0
        await world.happens(beat(2))
        world.lease.keep_away()
        await asyncio.sleep(0)
        await world.settle()
        assert world.engine.kills == 1


@pytest.mark.parametrize(
    ("name", "content", "limit"),
    [
        ("memory.max", "536870912\n", 536870912),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "536870912\n", 536870912),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
        ("nothing", "1", None),
    ],
)
def test_a_container_s_limit_is_found(tmp_path: Path, name: str, content: str, limit: int | None) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    assert container_limit(tmp_path) == limit


def test_the_engine_has_its_share_of_what_there_is() -> None:
    assert engine_share(536870912) == 322122547
    assert engine_share(None) is None

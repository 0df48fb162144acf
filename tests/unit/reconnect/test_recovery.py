"""How soon the connection is back when the network is, and what is not done before."""

import asyncio
from itertools import pairwise
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from service.engine.protocol import ConnectEnded, ConnectFailure, Disconnected, TemporaryBan
from service.reconnect.approach import PROBE_EVERY_S, PROBE_SOON_S, SOON_FOR_S, Approach
from service.reconnect.metrics import ReconnectMetrics
from service.reconnect.status import State
from tests.clock import FakeClock
from tests.unit.reconnect.fakes import World

RECOVERS_WITHIN_S = 3.0
LOGIN_TAKES_S = 2.0


@pytest.mark.parametrize("outage_s", [30, 300, 3600])
async def test_a_login_is_under_way_in_time_after_an_outage_and_none_was_made_in_it(outage_s: int) -> None:
    async with World().lives() as world:
        await world.connects()
        await world.passes(60)
        world.reachable = False
        await world.happens(Disconnected())
        await world.passes(outage_s)
        assert len(world.logins) == 1, "while the probe fails, nobody logs in"
        started = len(world.engines)
        world.reachable = True
        await world.passes(RECOVERS_WITHIN_S - LOGIN_TAKES_S if outage_s < SOON_FOR_S else PROBE_EVERY_S[1])
        assert len(world.logins) == 2
        assert len(world.engines) == started, "it has been started while nothing else could be done"


async def test_a_failing_probe_is_repeated_every_second_for_ten_minutes_and_then_every_five() -> None:
    clock, asked = FakeClock(), list[float]()

    async def probe() -> bool:
        asked.append(clock.monotonic())
        return False

    approach = Approach(
        probe=probe,
        clock=clock,
        rng=Random(7),
        metrics=ReconnectMetrics(CollectorRegistry(), "default", monotonic=clock.monotonic),
    )
    async with asyncio.TaskGroup() as tasks:
        approach.begin(tasks, 0.0, early=True, due=lambda: None, unreachable=lambda _: None)
        while clock.monotonic() < 2 * SOON_FOR_S:
            for _ in range(5):
                await asyncio.sleep(0)
            clock.advance(min([left for left in clock.sleeps if left > 0], default=0.0))
        approach.cancel()
    pauses = [(at, later - at) for at, later in pairwise(asked)]
    soon = [pause for at, pause in pauses if at < SOON_FOR_S]
    late = [pause for at, pause in pauses if at >= SOON_FOR_S]
    assert PROBE_SOON_S[0] <= min(soon) < max(soon) <= PROBE_SOON_S[1]
    assert PROBE_EVERY_S[0] <= min(late) < max(late) <= PROBE_EVERY_S[1]


async def test_a_network_that_answers_is_not_asked_more_often_because_logins_fail() -> None:
    async with World().lives() as world:
        for _ in range(6):
            await world.happens(ConnectFailure(reason=503, text=""))
            await world.passes(300)
        await world.happens(ConnectFailure(reason=503, text=""))
        before = world.metric("whatsapp_reconnect_probes_total", result="reached")
        await world.passes(100)
        assert world.metric("whatsapp_reconnect_probes_total", result="reached") == before + 20


async def away(world: World) -> None:
    """The network goes, and an engine stands by."""
    world.reachable = False
    await world.happens(ConnectEnded(text="EOF"))
    await world.passes(10)
    assert [engine.opened for engine in world.running] == [False]


async def test_an_engine_that_dies_standing_by_is_replaced_by_the_next_login_only() -> None:
    async with World().lives() as world:
        await away(world)
        engines = len(world.engines)
        await world.dies()
        await world.passes(60)
        assert (len(world.engines), len(world.running)) == (engines, 0)
        world.reachable = True
        await world.passes(1)
        assert len(world.engines) == engines + 1
        await world.connects()
        assert world.state() is State.CONNECTED


async def test_an_engine_that_cannot_be_started_to_stand_by_is_no_attempt() -> None:
    async with World().lives() as world:
        world.start_fails = True
        world.reachable = False
        await world.happens(ConnectEnded(text="EOF"))
        await world.passes(60)
        assert world.status.attempt == 1
        world.start_fails = False
        world.reachable = True
        await world.passes(1)
        assert len(world.logins) == 2


@pytest.mark.parametrize("ending", ["stop", "lease"])
async def test_nothing_stands_by_without_a_chance_to_log_in(ending: str) -> None:
    async with World().lives() as world:
        await away(world)
        if ending == "stop":
            await world.supervisor.stop()
        else:
            world.lease.keep_away()
            await world.passes(60)
        assert not world.running


async def test_a_ban_that_ends_while_the_network_is_away_ends_with_a_login_as_well() -> None:
    async with World().lives() as world:
        await world.happens(TemporaryBan(code=101, expire_s=100.0))
        world.reachable = False
        await world.passes(119)
        assert not world.running
        await world.passes(10)
        assert len(world.running) == 1
        world.lease.keep_away()
        await world.settle()
        assert not world.running
        world.lease.lose()
        world.reachable = True
        await world.passes(2)
        assert len(world.logins) == 2


async def test_an_engine_that_is_still_starting_is_waited_for() -> None:
    async with World().lives() as world:
        world.start_takes_s = 2.0
        world.reachable = False
        await world.happens(ConnectEnded(text="EOF"))
        await world.passes(2.5)
        world.reachable = True
        await world.passes(1)
        assert (len(world.engines), len(world.logins)) == (2, 1)
        await world.passes(1)
        assert (len(world.engines), len(world.logins)) == (2, 2)

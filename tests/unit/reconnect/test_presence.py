"""Being in use is shown once a day, for a moment, over a connection that holds."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry

from service.errors import EngineError, EngineGone, EngineRefused, EngineTimeout
from service.reconnect.presence import (
    EVERY_S,
    RETRY_S,
    SHOWN_S,
    STABLE_S,
    DailyPresence,
    PresenceMetrics,
    Shown,
)
from service.reconnect.status import Advice, State, Status
from tests.clock import FakeClock
from tests.unit.reconnect.fakes import TURNS, LongestWait


@dataclass
class Refusing:
    """What the next words to WhatsApp come to."""

    error: EngineError | None = None
    only_when: bool | None = None


class Day:
    """A connection that a test makes and breaks, and what WhatsApp was told over it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.told: list[bool] = []
        self.refusing = Refusing()
        self._registry = CollectorRegistry()
        self.presence = DailyPresence(
            tell=self._tell,
            clock=self.clock,
            rng=LongestWait(),
            metrics=PresenceMetrics(self._registry, "default"),
        )

    async def _tell(self, *, available: bool) -> None:
        if self.refusing.error is not None and self.refusing.only_when in {None, available}:
            raise self.refusing.error
        self.told.append(available)

    async def becomes(self, state: State) -> None:
        status = Status(state=state, reason="", sentence="", advice=Advice.NOTHING, since=self.clock.now())
        self.presence.on_status(status)
        await self.passes(0)

    async def passes(self, seconds: float) -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)
        self.clock.advance(seconds)
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def tries(self) -> dict[str, float]:
        """The results that there have been."""
        name = "whatsapp_presence_announcements_total"
        every = {
            shown.value: self._registry.get_sample_value(name, {"account": "default", "result": shown.value})
            for shown in Shown
        }
        assert None not in every.values(), "each result is there from the start"
        return {result: count for result, count in every.items() if count}

    def last_at(self) -> float | None:
        name = "whatsapp_presence_last_announced_timestamp_seconds"
        return self._registry.get_sample_value(name, {"account": "default"})


@pytest.fixture
async def day() -> AsyncIterator[Day]:
    day = Day()
    running = asyncio.create_task(day.presence.run())
    yield day
    assert not running.done(), running
    running.cancel()
    await asyncio.wait({running})


async def test_it_is_online_for_a_moment_once_the_connection_holds(day: Day) -> None:
    await day.passes(EVERY_S)
    await day.becomes(State.CONNECTED)
    await day.passes(STABLE_S - 1)
    assert (day.told, day.tries(), day.last_at()) == ([], {}, 0)

    await day.passes(1)
    assert day.told == [True]

    await day.passes(SHOWN_S[1])
    assert (day.told, day.tries(), day.last_at()) == ([True, False], {"shown": 1}, day.clock.now())


async def test_it_is_shown_again_a_day_later(day: Day) -> None:
    await day.becomes(State.CONNECTED)
    await day.passes(STABLE_S)
    await day.passes(SHOWN_S[1])
    await day.passes(EVERY_S - 1)
    assert day.tries() == {"shown": 1}

    await day.passes(1)
    await day.passes(STABLE_S)
    await day.passes(SHOWN_S[1])
    assert (day.told, day.tries()) == ([True, False] * 2, {"shown": 2})


async def test_connections_that_do_not_hold_are_not_used(day: Day) -> None:
    for _ in range(5):
        await day.becomes(State.CONNECTED)
        await day.passes(STABLE_S / 2)
        await day.becomes(State.DEGRADED)
        await day.becomes(State.CONNECTED)
        await day.passes(STABLE_S / 2)
        await day.becomes(State.BACKING_OFF)
    assert day.told == []


async def test_many_connections_in_a_day_are_shown_once(day: Day) -> None:
    for _ in range(5):
        await day.becomes(State.CONNECTED)
        await day.passes(STABLE_S)
        await day.passes(SHOWN_S[1])
        await day.becomes(State.CONNECTING)
    assert day.tries() == {"shown": 1}


async def test_a_day_that_ends_without_a_connection_is_made_up_for_with_the_next(day: Day) -> None:
    await day.becomes(State.CONNECTED)
    await day.passes(STABLE_S)
    await day.passes(SHOWN_S[1])
    await day.becomes(State.BACKING_OFF)
    await day.passes(2 * EVERY_S)
    assert day.tries() == {"shown": 1}

    await day.becomes(State.CONNECTED)
    await day.passes(STABLE_S)
    await day.passes(SHOWN_S[1])
    assert day.tries() == {"shown": 2}


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (EngineRefused("can't send presence without PushName set"), Shown.NO_PUSH_NAME),
        (EngineRefused("websocket not connected"), Shown.REFUSED),
        (EngineGone("it ended"), Shown.UNANSWERED),
        (EngineTimeout("10 s"), Shown.UNANSWERED),
    ],
    ids=["no name yet", "refused", "gone", "no answer"],
)
async def test_a_try_that_fails_is_counted_and_made_again_after_an_hour(
    day: Day, error: EngineError, result: Shown
) -> None:
    day.refusing.error = error
    await day.becomes(State.CONNECTED)
    await day.passes(STABLE_S)
    assert (day.tries(), day.last_at()) == ({result.value: 1}, 0)

    day.refusing.error = None
    await day.passes(RETRY_S)
    await day.passes(STABLE_S)
    await day.passes(SHOWN_S[1])
    assert day.tries() == {result.value: 1, "shown": 1}


async def test_who_could_not_be_told_that_it_is_over_is_told_an_hour_later(day: Day) -> None:
    day.refusing = Refusing(EngineGone("it ended"), only_when=False)
    await day.becomes(State.CONNECTED)
    await day.passes(STABLE_S)
    await day.passes(SHOWN_S[1])
    assert (day.told, day.tries()) == ([True], {"unanswered": 1})

    day.refusing.error = None
    await day.passes(RETRY_S)
    await day.passes(STABLE_S)
    await day.passes(SHOWN_S[1])
    assert day.told == [True, True, False]

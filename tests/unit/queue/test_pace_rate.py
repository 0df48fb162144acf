"""The rate of the account and the pause within a chat."""

import asyncio
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bucket import TokenBucket
from service.config import Seconds
from service.queue.pace.gaps import UNANSWERED_S
from service.queue.pace.metrics import Reason
from tests.clock import FakeClock
from tests.unit.queue.pacing import ANYTHING, GROUP, Account, a_message, stranger

ANN, BEN = stranger(101), stranger(102)
SLOW = replace(ANYTHING, send_rate=20, send_burst=3)


@given(
    rate=st.floats(0.01, 50),
    burst=st.integers(1, 20),
    steps=st.lists(st.floats(0, 100), min_size=1, max_size=60),
    unused=st.sets(st.integers(0, 200)),
)
def test_no_window_ever_sees_more_than_the_burst_and_the_rate(
    rate: float, burst: int, steps: list[float], unused: set[int]
) -> None:
    at, taken = 0.0, 0
    bucket = TokenBucket(rate_per_s=rate, burst=burst, tokens=1.0, at=at)
    went: list[float] = []
    for step in steps:
        at += step
        while bucket.ready_in_s(at) == 0:
            bucket.take(at)
            taken += 1
            if taken in unused:
                bucket.put_back(at)
            else:
                went.append(at)
    for first, begin in enumerate(went):
        for last in range(first, len(went)):
            assert last - first + 1 <= burst + rate * (went[last] - begin) + 1e-6


@given(rate=st.floats(0.01, 50), burst=st.integers(1, 20), taken=st.integers(1, 30))
def test_it_is_ready_when_it_said_it_would_be(rate: float, burst: int, taken: int) -> None:
    at = 0.0
    bucket = TokenBucket(rate_per_s=rate, burst=burst, tokens=1.0, at=at)
    for _ in range(taken):
        at += bucket.ready_in_s(at)
        bucket.take(at)


@given(rate=st.floats(0.01, 50), burst=st.integers(1, 20), rests_s=st.floats(0, 3000))
def test_as_many_are_ready_as_can_be_taken(rate: float, burst: int, rests_s: float) -> None:
    bucket = TokenBucket(rate_per_s=rate, burst=burst, tokens=1.0, at=0.0)
    ready = bucket.ready(rests_s)
    for _ in range(ready):
        bucket.take(rests_s)
    assert bucket.ready(rests_s) == 0
    assert bucket.ready_in_s(rests_s) > 0


async def test_after_a_quiet_while_a_burst_goes_out_at_once_and_then_one_at_a_time() -> None:
    account = Account(SLOW, rests_s=0)
    account.clock.advance(3600)
    assert account.pacer.room() == 3
    assert [await account.try_to_send(stranger(one)) for one in range(3)] == [None] * 3
    assert account.pacer.room() == 0
    assert account.pacer.ready_in_s() == pytest.approx(3)
    account.clock.advance(3)
    assert account.pacer.ready_in_s() == 0
    assert await account.try_to_send(ANN) is None
    assert account.pacer.ready_in_s() == pytest.approx(3)


async def test_a_process_that_is_started_again_and_again_sends_no_faster_for_it() -> None:
    account = Account(SLOW, rests_s=0)
    went = 0
    for _ in range(20):
        account.begin()
        while account.pacer.ready_in_s() == 0:
            assert await account.try_to_send(stranger(went)) is None
            went += 1
    assert went == 20, "one message a start, not a burst a start"


async def test_who_asks_though_the_account_is_not_ready_is_put_off_until_it_is() -> None:
    account = Account(SLOW, rests_s=0)
    assert await account.try_to_send(ANN) is None
    assert await account.try_to_send(BEN) == pytest.approx(3)
    assert account.postponed(Reason.RATE) == 1


async def test_a_message_that_never_left_takes_nothing_from_the_rate() -> None:
    account = Account(replace(SLOW, chat_gap=Seconds(3, 8)), rests_s=0)
    one = a_message(ANN)
    for _ in range(5):  # let go, and the connection is lost before the engine begins it
        assert await account.pacer.not_before(one) is None
    account.pacer.sent(one)
    assert account.metric("tokens") == pytest.approx(0)
    again = replace(one, attempts=1)
    assert await account.pacer.not_before(again) is not None, "an attempt that ended is counted"


@given(
    gap=st.tuples(st.floats(0, 20), st.floats(0, 20)).map(lambda two: Seconds(min(two), max(two))),
    chats=st.lists(st.integers(0, 2), min_size=1, max_size=40),
    takes=st.lists(st.floats(0, UNANSWERED_S - 1), min_size=40, max_size=40),
    seed=st.integers(0, 1000),
)
def test_between_two_messages_of_a_chat_is_a_pause_of_the_range(
    gap: Seconds, chats: list[int], takes: list[float], seed: int
) -> None:
    async def play() -> None:
        account = Account(replace(ANYTHING, chat_gap=gap), seed=seed)
        let_go: dict[int, float] = {}
        left: dict[int, float] = {}
        for number, take_s in zip(chats, takes, strict=False):
            one = a_message(stranger(number))
            while (until := await account.pacer.not_before(one)) is not None:
                account.clock.advance(until - account.clock.now())
            at = account.clock.monotonic()
            assert at >= let_go.get(number, -99) + gap.least - 1e-6
            assert at >= left.get(number, -99) + gap.least - 1e-6
            let_go[number] = at
            account.clock.advance(take_s)
            account.pacer.sent(one)
            left[number] = account.clock.monotonic()

    asyncio.run(play())


async def test_the_pause_is_another_one_each_time() -> None:
    account = Account(replace(ANYTHING, chat_gap=Seconds(3, 8)), seed=7)
    waits = []
    for _ in range(20):
        assert await account.try_to_send(ANN) is None
        wait_s = await account.try_to_send(ANN)
        assert wait_s is not None
        assert 3 <= wait_s <= 8
        waits.append(round(wait_s, 3))
        account.clock.advance(wait_s + 0.001)
    assert len(set(waits)) == 20
    assert account.postponed(Reason.CHAT_GAP) == 20


async def test_a_chat_s_pause_holds_back_nobody_else() -> None:
    account = Account(replace(ANYTHING, chat_gap=Seconds(3, 8)))
    assert await account.try_to_send(ANN) is None
    assert await account.try_to_send(ANN) is not None
    assert await account.try_to_send(BEN) is None
    assert await account.try_to_send(GROUP) is None


async def test_while_a_message_is_on_its_way_the_next_of_its_chat_stays_back_but_not_for_ever() -> None:
    account = Account(replace(ANYTHING, chat_gap=Seconds(1, 2)))
    assert await account.pacer.not_before(a_message(ANN)) is None
    account.clock.advance(UNANSWERED_S - 1)
    assert await account.try_to_send(ANN) is not None
    account.clock.advance(1)
    assert await account.try_to_send(ANN) is None, "some never reach the engine, and nobody says so"


async def test_pauses_that_are_over_are_forgotten() -> None:
    account = Account(replace(ANYTHING, chat_gap=Seconds(3, 8), new_chats_per_day=0))
    for number in range(3000):
        assert await account.try_to_send(f"{number:010}@g.us") is None
        account.clock.advance(1)
    assert len(account.pacer._gaps._pauses) < 1100


async def test_setting_the_machine_s_clock_changes_neither_rate_nor_pause() -> None:
    account = Account(replace(SLOW, chat_gap=Seconds(5, 5)), rests_s=0)
    assert await account.try_to_send(ANN) is None
    account.clock.jump(7200)
    assert account.pacer.ready_in_s() == pytest.approx(3)
    account.clock.advance(3)
    assert await account.try_to_send(ANN) == pytest.approx(2)


def test_random_waits_come_from_the_source_that_is_handed_in() -> None:
    def waits(seed: int) -> list[float | None]:
        async def play() -> list[float | None]:
            account = Account(replace(ANYTHING, chat_gap=Seconds(3, 8)), seed=seed)
            return [await account.try_to_send(ANN) for _ in range(3)]

        return asyncio.run(play())

    assert waits(5) == waits(5)
    assert waits(5) != waits(6)
    assert isinstance(Account().rng, Random)
    assert isinstance(Account().clock, FakeClock)

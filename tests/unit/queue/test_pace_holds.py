"""What waits because the pacing wants it to is not late."""

from dataclasses import replace

import pytest

from service.queue.pace.contract import Unpaced
from service.queue.pace.holds import APART_S, KEPT, Holds
from tests.people import ANN
from tests.unit.queue.pacing import ANYTHING, Account, night

HOUR = 3600.0


def test_of_a_time_that_part_counts_in_which_the_account_was_held() -> None:
    holds = Holds()
    holds.note(100, 110)
    holds.note(200, 230)
    assert holds.within_s(0, 1000) == 40
    assert holds.within_s(105, 215) == 20
    assert holds.within_s(110, 200) == 0
    assert holds.within_s(205, 210) == 5


def test_what_is_noted_again_and_again_is_one_time() -> None:
    holds = Holds()
    for now in range(100, 200, 3):
        holds.note(now, now + 3 - APART_S / 2)
        holds.note(now + 1, now + 3 - APART_S / 2)
    assert holds.within_s(0, 1000) == pytest.approx(202 - APART_S / 2 - 100)


def test_what_is_long_past_is_forgotten() -> None:
    holds = Holds()
    for now in range(0, 10 * KEPT, 5):
        holds.note(now, now + 1)
    assert holds.within_s(0, 10 * KEPT) == KEPT


async def test_a_batch_that_goes_out_at_the_rate_is_held_and_an_outage_is_not() -> None:
    account = Account(replace(ANYTHING, send_rate=20, send_burst=1), rests_s=600)
    accepted = account.clock.now()
    account.clock.advance(600)  # an outage: nobody asks
    sent = 0
    while sent < 11:
        if wait_s := account.pacer.ready_in_s():
            account.clock.advance(wait_s)
        assert await account.try_to_send(ANN) is None
        sent += 1
    now = account.clock.now()
    assert now - accepted == pytest.approx(630)
    assert account.pacer.held_s(accepted, now) == pytest.approx(30)


def test_quiet_hours_are_held_to_the_minute_though_nobody_was_there_to_ask() -> None:
    account = Account(night("22:00-07:00"))
    midnight = account.clock.now() // (24 * HOUR) * 24 * HOUR
    assert account.pacer.held_s(midnight, midnight + 8 * HOUR) == pytest.approx(7 * HOUR)
    assert account.pacer.held_s(midnight - 4 * HOUR, midnight) == pytest.approx(2 * HOUR, abs=60)
    assert account.pacer.held_s(midnight + 8 * HOUR, midnight + 12 * HOUR) == 0
    assert account.pacer.held_s(midnight + HOUR, midnight) == 0


def test_without_pacing_nothing_is_held() -> None:
    assert Unpaced().held_s(0, 1000) == 0

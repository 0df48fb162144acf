"""Quiet hours: nothing goes out, whatever the season does to the clock."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config import Hours
from service.queue.pace.metrics import Reason
from service.queue.pace.pacer import LOOK_AGAIN_S
from service.queue.pace.quiet import quiet_for_s
from tests.unit.queue.pacing import GROUP, Account, a_message, night, stranger

BERLIN = ZoneInfo("Europe/Berlin")
ANN = stranger(101)


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("hours", "moment", "wait_s"),
    [
        ("22:00-07:00", "2026-01-10T21:59:59+01:00", 0),
        ("22:00-07:00", "2026-01-10T22:00:00+01:00", 9 * 3600),
        ("22:00-07:00", "2026-01-11T00:00:00+01:00", 7 * 3600),
        ("22:00-07:00", "2026-01-11T06:59:59+01:00", 1),
        ("22:00-07:00", "2026-01-11T07:00:00+01:00", 0),
        ("12:00-14:30", "2026-01-10T12:00:00+01:00", 9000),
        ("12:00-14:30", "2026-01-10T14:30:00+01:00", 0),
        ("22:00-00:00", "2026-01-10T23:00:00+01:00", 3600),
        ("00:00-06:00", "2026-01-10T23:59:59+01:00", 0),
        ("22:00-07:00", "2026-03-28T22:00:00+01:00", 8 * 3600),  # summer time begins
        ("22:00-07:00", "2026-10-24T22:00:00+02:00", 10 * 3600),  # and ends
    ],
)
def test_they_begin_and_end_on_the_local_clock(hours: str, moment: str, wait_s: float) -> None:
    assert quiet_for_s(Hours.parse(hours), zone=BERLIN, now=at(moment)) == pytest.approx(wait_s)


@given(
    start=st.times(),
    end=st.times(),
    moment=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),  # noqa: DTZ001 - made aware below
    zone=st.sampled_from(
        ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"]
    ),
)
def test_whoever_waits_as_told_comes_out_of_them_within_a_day_and_an_hour(
    start: datetime, end: datetime, moment: datetime, zone: str
) -> None:
    hours = Hours(start.replace(second=0, microsecond=0), end.replace(second=0, microsecond=0))  # type: ignore[arg-type]
    if hours.start == hours.end:
        return
    began = now = moment.replace(tzinfo=UTC).timestamp()
    turns = 0
    while wait_s := quiet_for_s(hours, zone=ZoneInfo(zone), now=now):
        now += min(wait_s, LOOK_AGAIN_S)
        turns += 1
        assert turns < timedelta(hours=27) / timedelta(seconds=1)
    assert now - began <= timedelta(hours=25, seconds=2).total_seconds()


async def test_in_quiet_hours_the_account_rests_and_asks_again_every_minute() -> None:
    account = Account(night("22:00-07:00", BERLIN), rests_s=0)
    account.clock.jump(at("2026-01-10T23:00:00+01:00") - account.clock.now())
    assert account.pacer.ready_in_s() == LOOK_AGAIN_S
    account.clock.jump(8 * 3600 - 10)
    assert account.pacer.ready_in_s() == pytest.approx(10)
    account.clock.jump(10)
    assert account.pacer.ready_in_s() == 0
    assert await account.try_to_send(ANN) is None


async def test_a_message_that_was_claimed_as_they_began_waits_until_they_end() -> None:
    account = Account(night("22:00-07:00", BERLIN))
    account.clock.jump(at("2026-01-10T22:00:00+01:00") - account.clock.now())
    assert await account.ask(a_message(GROUP)) == pytest.approx(at("2026-01-11T07:00:00+01:00"))
    assert account.postponed(Reason.QUIET_HOURS) == 1
    assert account.pacer.sentence() == "Quiet hours: nothing is sent until 2026-01-11 07:00 CET."
    assert account.metric("held", reason="quiet_hours") == 1


def test_without_quiet_hours_the_night_is_as_good_as_the_day() -> None:
    account = Account()
    for _ in range(24):
        assert account.pacer.ready_in_s() == 0
        account.clock.advance(3600)

"""When a backup is due."""

from itertools import pairwise

import pytest

from service.backup.model import Cause
from service.backup.schedule import Schedule, Signature

MINUTE = 60.0


class Watched:
    """A schedule that is looked at every 5 s, as the scheduler does, and what it asks for."""

    def __init__(self) -> None:
        self.schedule = Schedule(interval_s=30 * MINUTE, began_at=0.0)
        self.now = 0.0
        self.writes = 0
        self.succeeds = True
        self.took_s = 0.1
        self.made: list[tuple[float, Cause]] = []
        self.schedule.sees(self._signature(), now=0.0)
        self.ends()
        self.now = MINUTE

    def passes(self, seconds: float, *, writing: bool = False) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += 5.0
            self.writes += writing
            self.looks()

    def looks(self) -> None:
        self.schedule.sees(self._signature(), now=self.now)
        if (cause := self.schedule.due(now=self.now)) is not None:
            self.made.append((self.now, cause))
            self.ends()

    def ends(self, *, worth_repeating: bool = True) -> None:
        self.schedule.ended(
            success=self.succeeds, worth_repeating=worth_repeating, took_s=self.took_s, now=self.now
        )

    def _signature(self) -> Signature:
        return ((4096, 0), (self.writes, self.writes))


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_what_is_there_at_the_start_is_backed_up_soon() -> None:
    schedule = Schedule(interval_s=30 * MINUTE, began_at=0.0)
    schedule.sees(((4096, 0),), now=5.0)
    assert schedule.due(now=10.0) is None
    assert schedule.due(now=15.0) is Cause.CHANGED


def test_a_change_is_backed_up_once_it_has_been_quiet_for_ten_seconds(watched: Watched) -> None:
    watched.passes(15, writing=True)
    watched.passes(60)
    assert watched.made == [(85.0, Cause.CHANGED)]


def test_under_constant_change_there_is_one_every_half_minute(watched: Watched) -> None:
    watched.passes(5 * MINUTE, writing=True)
    times = [at for at, _ in watched.made]
    assert times[0] == 95.0
    assert {later - earlier for earlier, later in pairwise(times)} <= {30.0, 35.0}


def test_backups_take_no_more_than_a_twentieth_of_the_time(watched: Watched) -> None:
    watched.took_s = 6.0
    watched.passes(20 * MINUTE, writing=True)
    times = [at for at, _ in watched.made]
    assert min(later - earlier for earlier, later in pairwise(times)) >= 120.0


def test_without_a_change_there_is_one_each_interval(watched: Watched) -> None:
    watched.passes(95 * MINUTE)
    assert watched.made == [(at * MINUTE, Cause.INTERVAL) for at in (30, 60, 90)]


def test_a_linked_phone_is_backed_up_at_once_though_one_was_just_made(watched: Watched) -> None:
    watched.passes(30, writing=True)
    watched.passes(15)
    made = len(watched.made)
    watched.schedule.paired()
    watched.passes(5)
    assert [cause for _, cause in watched.made[made:]] == [Cause.PAIRED]


def test_a_failure_is_tried_again_ever_later_up_to_the_interval(watched: Watched) -> None:
    watched.succeeds = False
    watched.passes(4 * 60 * MINUTE)
    times = [at for at, _ in watched.made]
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits[:6] == [30.0, 60.0, 120.0, 240.0, 480.0, 960.0]
    assert set(waits[6:]) == {1800.0}


def test_after_a_success_failures_are_forgotten(watched: Watched) -> None:
    watched.succeeds = False
    watched.passes(40 * MINUTE)
    watched.succeeds = True
    watched.passes(40 * MINUTE)
    made = len(watched.made)
    watched.passes(5, writing=True)
    watched.passes(20)
    assert [cause for _, cause in watched.made[made:]] == [Cause.CHANGED]


def test_an_unfit_session_is_not_tried_again_before_it_changes(watched: Watched) -> None:
    watched.succeeds = False
    watched.passes(5, writing=True)
    watched.ends(worth_repeating=False)
    watched.passes(10 * MINUTE)
    assert watched.made == []


def test_what_changes_while_a_backup_is_made_is_backed_up_later(watched: Watched) -> None:
    watched.passes(5, writing=True)
    watched.passes(10)
    watched.writes += 1
    watched.ends()
    watched.passes(2 * MINUTE)
    assert [cause for _, cause in watched.made] == [Cause.CHANGED, Cause.CHANGED]

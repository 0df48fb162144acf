"""Killed at every point, the service loses nothing; and when a loop of kills counts as survived."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.kill_loop import DUPLICATES_ALLOWED, Report, play
from tests.chaos.killable import Order, Point, Trigger
from tests.chaos.store import Store

SURVIVED = Report(
    store="sqlite",
    seed=1,
    kills=6,
    accepted=300,
    delivered=300,
    confirmed=297,
    lost=0,
    duplicates=DUPLICATES_ALLOWED,
    out_of_order=0,
    stuck=0,
    requests_repeated=40,
    known_by_key=3,
    seconds=15.0,
    seconds_per_kill=2.5,
    by_point={"random": 6},
    states={"delivered": 297, "sent": 3},
)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("store", Store.KINDS)
async def test_killed_at_every_point_it_loses_nothing(tmp_path: Path, store: str) -> None:
    report = await play(tmp_path, points=list(Point), store=store, seed=7, names=("Ann", "Ben"))
    assert report.holds, report
    assert report.by_point == {point.value: 1 for point in Point}, "every point was reached"


def test_a_loop_that_kept_every_promise_is_survived() -> None:
    assert SURVIVED.holds


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(replace(SURVIVED, delivered=299, lost=1), id="a message is lost"),
        pytest.param(replace(SURVIVED, stuck=1), id="a message is stuck"),
        pytest.param(replace(SURVIVED, out_of_order=1), id="two messages changed places"),
        pytest.param(replace(SURVIVED, duplicates=DUPLICATES_ALLOWED + 1), id="too many arrive twice"),
        pytest.param(replace(SURVIVED, accepted=0, delivered=0), id="nothing was handed in"),
    ],
)
def test_a_broken_promise_is_a_failure(broken: Report) -> None:
    assert not broken.holds


def test_an_order_survives_its_way_through_the_environment() -> None:
    order = Order(Point.SENDING, 7, 0.0021)
    assert Order.parse(str(order)) == order


def test_only_the_ordered_passage_of_the_ordered_point_is_deadly() -> None:
    trigger = Trigger(Order(Point.SENDING, 2))
    assert not trigger.passed(Point.BEFORE_COMMIT)
    assert [trigger.passed(Point.SENDING) for _ in range(3)] == [False, True, False]

"""When a storm counts as weathered."""

from dataclasses import replace

import pytest

from tests.chaos.storm import BACK_WITHIN_S, FD_NOISE, RSS_NOISE_MB, Report

WEATHERED = Report(
    seed=1,
    faults=40,
    messages=300,
    lost=0,
    duplicates=1,
    out_of_order=0,
    longest_stall_ms=20_000,
    connected_after_ms=4_000,
    parent_fd_growth=1,
    parent_rss_growth_mb=1.5,
    engine_restarts=4,
    by_kind={"cut": 40},
)


def test_a_storm_without_losses_is_weathered() -> None:
    assert WEATHERED.holds


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(replace(WEATHERED, lost=1), id="a message is lost"),
        pytest.param(
            replace(WEATHERED, connected_after_ms=int(BACK_WITHIN_S * 1000) + 1), id="not back in time"
        ),
        pytest.param(replace(WEATHERED, parent_fd_growth=FD_NOISE + 1), id="descriptors leak"),
        pytest.param(replace(WEATHERED, parent_rss_growth_mb=RSS_NOISE_MB + 0.1), id="memory leaks"),
    ],
)
def test_a_broken_promise_is_a_failure(broken: Report) -> None:
    assert not broken.holds

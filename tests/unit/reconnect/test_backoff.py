"""The waits between logins."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from service.reconnect.backoff import Backoff


@given(attempt=st.integers(1, 10_000), seed=st.integers())
def test_every_wait_is_between_nothing_and_the_ceiling(attempt: int, seed: int) -> None:
    backoff = Backoff()
    assert 0.0 <= backoff.wait(attempt, Random(seed)) <= backoff.ceiling(attempt) <= backoff.cap


def test_the_ceiling_doubles_from_two_seconds_to_five_minutes() -> None:
    ceilings = [Backoff().ceiling(attempt) for attempt in range(1, 11)]
    assert ceilings == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_the_whole_range_is_used_so_that_many_instances_do_not_come_back_together() -> None:
    rng = Random(1)
    waits = [Backoff().wait(9, rng) for _ in range(1000)]
    assert min(waits) < 10
    assert max(waits) > 290
    assert 140 < sum(waits) / len(waits) < 160

"""How many messages are recorded."""

from hypothesis import given
from hypothesis import strategies as st

from service.telemetry.bound import BURST_S, Bound
from tests.clock import FakeClock


def test_after_a_quiet_while_a_batch_is_recorded_and_then_so_many_a_second() -> None:
    clock = FakeClock()
    bound = Bound(10, clock=clock)
    assert bound.take(40) == 40
    assert bound.take(70) == 60
    assert bound.take(1) == 0
    clock.advance(0.55)
    assert bound.take(9) == 5
    clock.advance(0.05)
    assert bound.take(9) == 1, "half a message was left"
    clock.advance(3600)
    assert bound.take(1000) == 100


def test_a_bound_below_one_a_second_still_records_one_at_a_time() -> None:
    clock = FakeClock()
    bound = Bound(0.01, clock=clock)
    assert [bound.take(1), bound.take(1)] == [1, 0]
    clock.advance(101)
    assert bound.take(2) == 1


def test_without_a_bound_all_are_recorded() -> None:
    assert Bound(0, clock=FakeClock()).take(1_000_000) == 1_000_000


@given(
    per_second=st.floats(0.1, 100),
    asked=st.lists(st.tuples(st.floats(0, 30), st.integers(0, 500)), min_size=1, max_size=50),
)
def test_no_while_sees_more_than_the_burst_and_the_rate(
    per_second: float, asked: list[tuple[float, int]]
) -> None:
    clock = FakeClock()
    bound = Bound(per_second, clock=clock)
    granted = 0
    for pause_s, messages in asked:
        clock.advance(pause_s)
        taken = bound.take(messages)
        assert 0 <= taken <= messages
        granted += taken
    burst = max(1.0, per_second * BURST_S)
    assert granted <= burst + per_second * clock.monotonic() + 1e-6

"""What each event makes of a message, without a store."""

import pytest

from service.errors import ClaimLost
from service.queue import transitions
from service.queue.model import SETTLED, TRANSITIONS, Claim, OnUnknown, SendResult, State
from service.queue.receipts import delivery_s
from tests.unit.queue.messages import NOW, message

NEW = b"n" * 32


def test_an_attempt_that_failed_gets_a_new_secret_for_the_next() -> None:
    after = transitions.failed(
        message(state=State.SENDING),
        result=SendResult.RETRYABLE, error="e", retry_at=NOW + 9, secret=NEW, now=NOW,
    )  # fmt: skip
    assert (after.state, after.secret, after.due_at, after.attempts) == (State.QUEUED, NEW, NOW + 9, 1)


def test_one_that_never_left_keeps_its_secret_and_its_attempts() -> None:
    before = message(state=State.SENDING, attempts=3)
    after = transitions.released(before, now=NOW)
    assert (after.state, after.secret, after.attempts) == (State.QUEUED, before.secret, 3)
    assert (after.worker, after.claim_token) == (None, None)


@pytest.mark.parametrize(
    ("attempts", "retry_at", "state"),
    [(8, NOW + 1, State.QUEUED), (9, NOW + 1, State.DEAD), (0, None, State.DEAD)],
)
def test_used_up_attempts_or_no_retry_mean_dead(attempts: int, retry_at: float | None, state: State) -> None:
    after = transitions.failed(
        message(state=State.SENDING, attempts=attempts),
        result=SendResult.RETRYABLE, error="e", retry_at=retry_at, secret=NEW, now=NOW,
    )  # fmt: skip
    assert after.state is state


@pytest.mark.parametrize(
    ("on_unknown", "attempts", "state"),
    [
        (OnUnknown.RESEND, 1, State.QUEUED),
        (OnUnknown.RESEND, 10, State.DEAD),
        (OnUnknown.HOLD, 1, State.HELD),
        (OnUnknown.HOLD, 10, State.HELD),
    ],
)
def test_an_unknown_outcome_is_resent_held_or_dead(
    on_unknown: OnUnknown, attempts: int, state: State
) -> None:
    before = message(state=State.UNKNOWN, attempts=attempts, on_unknown=on_unknown)
    assert transitions.resolved(before, secret=NEW, now=NOW).state is state


@pytest.mark.parametrize("state", [s for s in State if s not in {State.DELIVERED, State.READ}])
def test_a_receipt_is_the_truth_wherever_a_message_stands(state: State) -> None:
    after = transitions.received(message(state=state), State.DELIVERED, at=NOW, now=NOW)
    assert after is not None
    assert (after.state, after.delivered_at, after.finished_at) == (State.DELIVERED, NOW, NOW)


def test_read_implies_delivered_and_nothing_moves_back() -> None:
    read = transitions.received(message(state=State.SENT), State.READ, at=NOW, now=NOW)
    assert read is not None
    assert (read.delivered_at, read.read_at) == (NOW, NOW)
    assert transitions.received(read, State.DELIVERED, at=NOW + 1, now=NOW + 1) is None
    assert transitions.received(read, State.READ, at=NOW + 1, now=NOW + 1) is None


def test_a_claim_counts_only_with_its_own_token() -> None:
    sending = message(state=State.SENDING)
    assert transitions.held_by(sending, Claim(sending, 7, None)) == sending
    for lost in (Claim(sending, 6, None), Claim(sending, 8, None)):
        with pytest.raises(ClaimLost):
            transitions.held_by(sending, lost)
    with pytest.raises(ClaimLost):
        transitions.held_by(None, Claim(sending, 7, None))


@pytest.mark.parametrize("state", [s for s in State if State.SENDING not in TRANSITIONS[s]])
def test_only_a_queued_message_can_be_claimed(state: State) -> None:
    with pytest.raises(AssertionError):
        transitions.claimed(message(state=state), token=1, worker="w", now=NOW)


def test_every_settled_state_says_since_when() -> None:
    assert {s for s in State if s not in SETTLED} == {State.QUEUED, State.SENDING, State.UNKNOWN, State.HELD}


@pytest.mark.parametrize(
    ("delivered_at", "now", "seconds"),
    [(NOW, NOW + 0.25, 0.25), (NOW + 5, NOW + 90, 6.0), (None, NOW + 3, 3.0)],
    ids=["within the second", "learned later", "not told"],
)
def test_delivery_time_is_as_exact_as_receipts_allow(
    delivered_at: float | None, now: float, seconds: float
) -> None:
    assert delivery_s(NOW, delivered_at, now) == seconds

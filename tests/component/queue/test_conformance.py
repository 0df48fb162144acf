"""What every queue store promises (service/queue/store.py), checked on each of them."""

import asyncio

import pytest

from service.errors import ClaimLost
from service.queue.model import RETENTION_S, Moves, SendResult, State
from service.queue.store import QueueStore
from tests.clock import FakeClock
from tests.component.queue.conftest import MakeStore
from tests.component.queue.support import SETTLINGS, claimed, keep, settle, to
from tests.people import ANN, BEN, CLEO
from tests.unit.queue.messages import text_of

HOUR = 3600.0
DAY = 86_400.0


# --- enqueue ------------------------------------------------------------------------------------------


async def test_what_was_accepted_is_there_after_a_restart(
    store: QueueStore, make_store: MakeStore, clock: FakeClock
) -> None:
    kept = await keep(store, to(ANN, "1"), to(BEN, "2 ä 👋"), now=clock.now())
    await store.close()

    again = make_store()
    await again.open()
    try:
        assert [await again.get(message.id) for message in kept] == kept
        assert again.counts()[State.QUEUED] == 2
        assert again.oldest_queued_at() == clock.now()
    finally:
        await again.close()


async def test_a_kept_message_has_what_it_needs_from_the_start(store: QueueStore, clock: FakeClock) -> None:
    first, second = await keep(
        store, to(ANN, "1"), to(ANN, "2", not_before=clock.now() + HOUR), now=clock.now()
    )

    assert (first.state, text_of(first), first.attempts, first.due_at) == (State.QUEUED, "1", 0, clock.now())
    assert len(first.secret) == 32
    assert first.secret != second.secret
    assert first.expires_at == clock.now() + DAY
    assert second.expires_at == clock.now() + HOUR + DAY, "a day to go out in, from when it may"
    assert second.seq > first.seq
    assert second.id > first.id


async def test_the_same_idempotency_key_returns_the_first_message(
    store: QueueStore, clock: FakeClock
) -> None:
    one, other, twin = await store.enqueue(
        [
            to(ANN, "first", idempotency_key="k"),
            to(ANN, "no key"),
            to(BEN, "second", idempotency_key="k"),
        ],
        now=clock.now(),
    )
    clock.advance(60)
    (later,) = await store.enqueue([to(BEN, "third", idempotency_key="k")], now=clock.now())

    assert [answer.created for answer in (one, other, twin, later)] == [True, True, False, False]
    assert twin.message == later.message == one.message
    assert store.counts()[State.QUEUED] == 2


async def test_an_unknown_id_is_no_message(store: QueueStore) -> None:
    assert await store.get("no such id") is None


# --- claim --------------------------------------------------------------------------------------------


async def test_messages_of_one_chat_go_out_in_the_order_accepted(store: QueueStore, clock: FakeClock) -> None:
    kept = await keep(store, *(to(ANN, str(i), priority=i % 10) for i in range(12)), now=clock.now())
    taken = []
    for i in range(12):
        claim = await claimed(store, now=clock.now())
        await store.complete(claim, whatsapp_id=f"w{i}", now=clock.now())
        taken.append(claim.message.id)
    assert taken == [message.id for message in kept]


async def test_among_chats_the_highest_priority_goes_first_then_the_earliest(
    store: QueueStore, clock: FakeClock
) -> None:
    ann, ben, cleo = await keep(
        store, to(ANN, priority=5), to(BEN, priority=9), to(CLEO, priority=9), now=clock.now()
    )
    taken = [(await claimed(store, now=clock.now())).message.id for _ in range(3)]
    assert taken == [ben.id, cleo.id, ann.id]


async def test_a_claimed_message_is_sending_and_nobody_else_gets_it(
    store: QueueStore, clock: FakeClock
) -> None:
    (kept,) = await keep(store, to(ANN), now=clock.now())
    claim = await claimed(store, now=clock.now())

    found = await store.get(kept.id)
    assert found == claim.message
    assert (claim.message.state, claim.message.claimed_at) == (State.SENDING, clock.now())
    assert not await store.claim(worker="worker", now=clock.now())
    assert not await store.claim(worker="other", now=clock.now())


async def test_a_waiting_retry_holds_back_only_its_own_chat(store: QueueStore, clock: FakeClock) -> None:
    first, _, other = await keep(store, to(ANN, "1"), to(ANN, "2"), to(BEN, "1"), now=clock.now())
    claim = await claimed(store, now=clock.now())
    await store.fail(
        claim, result=SendResult.RETRYABLE, error="e", retry_at=clock.now() + 60, now=clock.now()
    )

    assert (await claimed(store, now=clock.now())).message.id == other.id
    assert not await store.claim(worker="worker", now=clock.now())
    assert await store.next_due() == clock.now() + 60

    clock.advance(60)
    assert (await claimed(store, now=clock.now())).message.id == first.id


async def test_a_message_is_not_sent_before_its_time(store: QueueStore, clock: FakeClock) -> None:
    due_at = clock.now() + HOUR
    (kept,) = await keep(store, to(ANN, not_before=due_at), now=clock.now())

    assert not await store.claim(worker="worker", now=due_at - 0.001)
    assert await store.next_due() == due_at
    assert (await claimed(store, now=due_at)).message.id == kept.id
    assert await store.next_due() is None


async def test_of_messages_that_became_due_meanwhile_the_highest_priority_goes_first(
    store: QueueStore, clock: FakeClock
) -> None:
    low, high = await keep(
        store,
        to(ANN, priority=1, not_before=clock.now() + 1),
        to(BEN, priority=8, not_before=clock.now() + 2),
        now=clock.now(),
    )
    clock.advance(5)
    taken = [(await claimed(store, now=clock.now())).message.id for _ in range(2)]
    assert taken == [high.id, low.id]


async def test_a_fair_claim_takes_the_earliest_accepted_whatever_its_priority(
    store: QueueStore, clock: FakeClock
) -> None:
    _, ben, cleo, waiting = await keep(
        store,
        to(ANN, not_before=clock.now() + 1, priority=9),
        to(BEN, priority=0),
        to(CLEO, priority=9),
        to(BEN, priority=9),
        now=clock.now(),
    )
    taken = [
        claim for _ in range(3) for claim in await store.claim(worker="worker", now=clock.now(), fair=True)
    ]
    assert [claim.message.id for claim in taken] == [ben.id, cleo.id, waiting.id]


async def test_behind_a_message_in_flight_the_same_worker_may_claim_the_next(
    store: QueueStore, clock: FakeClock
) -> None:
    kept = await keep(store, to(ANN, "1"), to(ANN, "2"), to(ANN, "3"), now=clock.now())
    one, two, three = [await claimed(store, now=clock.now()) for _ in range(3)]

    assert [claim.message.id for claim in (one, two, three)] == [message.id for message in kept]
    assert (one.behind, two.behind, three.behind) == (None, one.token, two.token)
    assert one.token < two.token < three.token


async def test_another_worker_may_not_claim_behind_it(store: QueueStore, clock: FakeClock) -> None:
    _, _, other = await keep(store, to(ANN, "1"), to(ANN, "2"), to(BEN, "1"), now=clock.now())
    await claimed(store, now=clock.now(), worker="one")

    assert (await claimed(store, now=clock.now(), worker="two")).message.id == other.id
    assert not await store.claim(worker="two", now=clock.now())


async def test_once_the_one_before_is_sent_nothing_is_behind_it(store: QueueStore, clock: FakeClock) -> None:
    await keep(store, to(ANN, "1"), to(ANN, "2"), now=clock.now())
    one = await claimed(store, now=clock.now())
    await store.complete(one, whatsapp_id="w1", now=clock.now())
    assert (await claimed(store, now=clock.now())).behind is None


async def test_calls_of_one_turn_take_effect_in_their_order(store: QueueStore, clock: FakeClock) -> None:
    await keep(store, to(ANN, "1"), to(ANN, "2"), now=clock.now())
    one = await claimed(store, now=clock.now())
    _, two = await asyncio.gather(
        store.complete(one, whatsapp_id="w1", now=clock.now()), claimed(store, now=clock.now())
    )
    assert two.behind is None


# --- settle -------------------------------------------------------------------------------------------


async def test_a_completed_message_is_sent_under_its_whatsapp_id(store: QueueStore, clock: FakeClock) -> None:
    await keep(store, to(ANN), now=clock.now())
    claim = await claimed(store, now=clock.now())
    clock.advance(1)
    sent = await store.complete(claim, whatsapp_id="w1", now=clock.now())

    assert (sent.state, sent.whatsapp_id, sent.sent_at, sent.attempts) == (State.SENT, "w1", clock.now(), 1)
    assert sent == await store.get(sent.id)


async def test_a_released_message_is_as_if_it_had_never_been_claimed(
    store: QueueStore, clock: FakeClock
) -> None:
    (kept,) = await keep(store, to(ANN), now=clock.now())
    claim = await claimed(store, now=clock.now())
    released = await store.release(claim, now=clock.now())

    assert (released.state, released.attempts, released.secret) == (State.QUEUED, 0, kept.secret)
    assert (await claimed(store, now=clock.now())).message.id == kept.id


async def test_a_postponed_message_waits_and_burns_no_attempt(store: QueueStore, clock: FakeClock) -> None:
    first, _, other = await keep(store, to(ANN, "1"), to(ANN, "2"), to(BEN), now=clock.now())
    claim = await claimed(store, now=clock.now())
    until = clock.now() + 60
    postponed = await store.postpone(claim, until=until, now=clock.now())

    assert (postponed.state, postponed.attempts, postponed.secret) == (State.QUEUED, 0, first.secret)
    assert (await claimed(store, now=clock.now())).message.id == other.id
    assert not await store.claim(worker="worker", now=until - 0.001), "its chat waits with it"
    assert await store.next_due() == until
    assert (await claimed(store, now=until)).message.id == first.id


async def test_a_failed_attempt_waits_then_dies_when_attempts_are_used_up(
    store: QueueStore, clock: FakeClock
) -> None:
    await keep(store, to(ANN, max_attempts=2), now=clock.now())
    for expected in (State.QUEUED, State.DEAD):
        claim = await claimed(store, now=clock.now())
        message = await store.fail(
            claim, result=SendResult.RETRYABLE, error="status 503", retry_at=clock.now() + 9, now=clock.now()
        )
        assert message.state is expected
        clock.advance(9)
    assert (message.attempts, message.last_result, message.last_error) == (
        2,
        SendResult.RETRYABLE,
        "status 503",
    )


async def test_a_failure_for_good_is_dead_at_once_and_lets_the_next_go(
    store: QueueStore, clock: FakeClock
) -> None:
    _, second = await keep(store, to(ANN, "1"), to(ANN, "2"), now=clock.now())
    claim = await claimed(store, now=clock.now())
    dead = await store.fail(
        claim, result=SendResult.PERMANENT, error="rejected", retry_at=None, now=clock.now()
    )

    assert (dead.state, dead.finished_at) == (State.DEAD, clock.now())
    assert (await claimed(store, now=clock.now())).message.id == second.id


async def test_each_attempt_that_may_have_reached_the_wire_has_its_own_secret(
    store: QueueStore, clock: FakeClock
) -> None:
    await keep(store, to(ANN), now=clock.now())
    secrets = []
    for _ in range(2):
        claim = await claimed(store, now=clock.now())
        secrets.append(claim.message.secret)
        await store.fail(claim, result=SendResult.RETRYABLE, error="e", retry_at=clock.now(), now=clock.now())
    claim = await claimed(store, now=clock.now())
    unknown = await store.mark_unknown(claim, whatsapp_id="w", error="e", now=clock.now())
    resent = await store.resolve_unknown(unknown.id, now=clock.now())
    assert resent is not None
    assert len({*secrets, claim.message.secret, resent.secret}) == 4


@pytest.mark.parametrize("how", SETTLINGS)
async def test_a_late_worker_cannot_settle_a_claim_that_was_given_away(
    store: QueueStore, clock: FakeClock, how: str
) -> None:
    await keep(store, to(ANN), now=clock.now())
    late = await claimed(store, now=clock.now(), worker="one")
    (orphan,) = await store.orphans(worker="two")
    await store.release(orphan, now=clock.now())
    current = await claimed(store, now=clock.now(), worker="two")

    with pytest.raises(ClaimLost):
        await settle(store, late, how, now=clock.now())
    assert await store.get(current.message.id) == current.message


async def test_a_claim_is_settled_once(store: QueueStore, clock: FakeClock) -> None:
    await keep(store, to(ANN), now=clock.now())
    claim = await claimed(store, now=clock.now())
    await store.complete(claim, whatsapp_id="w", now=clock.now())
    with pytest.raises(ClaimLost):
        await store.complete(claim, whatsapp_id="w", now=clock.now())


async def test_one_lost_claim_does_not_harm_what_is_committed_with_it(
    store: QueueStore, clock: FakeClock
) -> None:
    await keep(store, to(ANN), now=clock.now())
    claim = await claimed(store, now=clock.now())
    await store.release(claim, now=clock.now())

    outcomes = await asyncio.gather(
        store.enqueue([to(BEN, "1")], now=clock.now()),
        store.complete(claim, whatsapp_id="w", now=clock.now()),
        store.enqueue([to(BEN, "2")], now=clock.now()),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [list, ClaimLost, list]
    assert store.counts()[State.QUEUED] == 3


# --- time ---------------------------------------------------------------------------------------------


async def test_an_expired_message_is_never_claimed_and_lets_the_next_go(
    store: QueueStore, clock: FakeClock
) -> None:
    late, next_one = await keep(
        store, to(ANN, "1", expires_at=clock.now() + 10), to(ANN, "2"), now=clock.now()
    )
    clock.advance(10)
    assert (await claimed(store, now=clock.now())).message.id == next_one.id
    found = await store.get(late.id)
    assert found is not None
    assert (found.state, found.finished_at) == (State.EXPIRED, clock.now())


async def test_a_retry_that_would_come_too_late_does_not_hold_back_its_chat(
    store: QueueStore, clock: FakeClock
) -> None:
    _, second = await keep(store, to(ANN, "1", expires_at=clock.now() + 10), to(ANN, "2"), now=clock.now())
    claim = await claimed(store, now=clock.now())
    await store.fail(
        claim, result=SendResult.RETRYABLE, error="e", retry_at=clock.now() + HOUR, now=clock.now()
    )
    assert await store.next_due() == clock.now() + 10
    clock.advance(10)
    assert (await claimed(store, now=clock.now())).message.id == second.id


async def test_expiry_finds_every_queued_message_past_its_time(store: QueueStore, clock: FakeClock) -> None:
    many = 600
    await keep(store, *(to(ANN, str(i), expires_at=clock.now() + 1) for i in range(many)), now=clock.now())
    (stays,) = await keep(store, to(ANN, "stays"), now=clock.now())
    clock.advance(1)

    assert await store.expire(now=clock.now()) == many
    assert await store.expire(now=clock.now()) == 0
    assert store.counts()[State.EXPIRED] == many
    assert (await claimed(store, now=clock.now())).message.id == stays.id


async def test_many_expired_messages_in_the_way_of_a_claim_are_moved_aside(
    store: QueueStore, clock: FakeClock
) -> None:
    await keep(store, *(to(ANN, str(i), expires_at=clock.now() + 1) for i in range(600)), now=clock.now())
    (stays,) = await keep(store, to(ANN, "stays"), now=clock.now())
    clock.advance(1)
    assert (await claimed(store, now=clock.now())).message.id == stays.id
    assert store.counts()[State.EXPIRED] == 600


async def test_a_message_in_flight_does_not_expire(store: QueueStore, clock: FakeClock) -> None:
    await keep(store, to(ANN, expires_at=clock.now() + 1), now=clock.now())
    claim = await claimed(store, now=clock.now())
    clock.advance(5)
    assert await store.expire(now=clock.now()) == 0
    assert (await store.complete(claim, whatsapp_id="w", now=clock.now())).state is State.SENT


async def test_nothing_is_forgotten_before_its_retention_is_over(store: QueueStore, clock: FakeClock) -> None:
    sent, dead, queued = await keep(
        store,
        to(ANN, idempotency_key="k"),
        to(BEN),
        to(CLEO, not_before=clock.now() + 60 * DAY),
        now=clock.now(),
    )
    await store.complete(await claimed(store, now=clock.now()), whatsapp_id="w", now=clock.now())
    await store.fail(
        await claimed(store, now=clock.now()),
        result=SendResult.PERMANENT, error="e", retry_at=None, now=clock.now(),
    )  # fmt: skip

    assert await store.prune(now=clock.now() + RETENTION_S[State.SENT] - 1) == 0
    assert await store.prune(now=clock.now() + RETENTION_S[State.SENT]) == 1
    assert await store.get(sent.id) is None
    assert await store.prune(now=clock.now() + RETENTION_S[State.DEAD] - 1) == 0
    assert await store.prune(now=clock.now() + RETENTION_S[State.DEAD]) == 1
    assert await store.get(dead.id) is None
    assert await store.get(queued.id) == queued
    assert store.counts() == {state: int(state is State.QUEUED) for state in State}
    (again,) = await store.enqueue([to(ANN, idempotency_key="k")], now=clock.now())
    assert again.created


# --- numbers ------------------------------------------------------------------------------------------


async def test_counts_and_moves_follow_every_message(store: QueueStore, clock: FakeClock) -> None:
    told: list[Moves] = []
    unsubscribe = store.subscribe(told.append)
    await keep(store, to(ANN), to(BEN), now=clock.now())
    claim = await claimed(store, now=clock.now())
    await store.complete(claim, whatsapp_id="w", now=clock.now())
    await store.receive(["w"], state=State.DELIVERED, at=clock.now(), now=clock.now())
    unsubscribe()
    await keep(store, to(ANN), now=clock.now())

    assert [dict(moves) for moves in told] == [
        {(None, State.QUEUED): 2},
        {(State.QUEUED, State.SENDING): 1},
        {(State.SENDING, State.SENT): 1},
        {(State.SENT, State.DELIVERED): 1},
    ]
    assert {state: n for state, n in store.counts().items() if n} == {State.QUEUED: 2, State.DELIVERED: 1}


async def test_the_oldest_queued_message_is_known_without_asking(store: QueueStore, clock: FakeClock) -> None:
    assert store.oldest_queued_at() is None
    first_at = clock.now()
    await keep(store, to(ANN), now=first_at)
    clock.advance(5)
    await keep(store, to(BEN), now=clock.now())
    assert store.oldest_queued_at() == first_at

    claim = await claimed(store, now=clock.now())
    assert store.oldest_queued_at() == clock.now()
    await store.release(claim, now=clock.now())
    assert store.oldest_queued_at() == first_at


async def test_many_callers_at_once_are_all_answered(store: QueueStore, clock: FakeClock) -> None:
    answers = await asyncio.gather(*(keep(store, to(ANN, str(i)), now=clock.now()) for i in range(300)))
    kept = [message for (message,) in answers]
    assert [text_of(message) for message in sorted(kept, key=lambda m: m.seq)] == [str(i) for i in range(300)]
    assert store.counts()[State.QUEUED] == 300

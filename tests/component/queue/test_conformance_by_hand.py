"""What every queue store promises to people who look and step in."""

from collections.abc import Awaitable, Callable

import pytest

from service.queue.model import DEFAULT_TTL_S, Message, OnUnknown, Query, SendResult, State
from service.queue.store import QueueStore
from tests.clock import FakeClock
from tests.component.queue.support import claimed, keep, to
from tests.people import ANN, BEN, CLEO

DAY = 86_400.0

EVERY_STATE = pytest.mark.parametrize("state", State, ids=lambda state: state.value)


async def brought_to(state: State, store: QueueStore, clock: FakeClock, phone: str = ANN) -> Message:
    """A message that came to this state by what the store offers."""
    now = clock.now()
    (kept,) = await keep(
        store, to(phone, on_unknown=OnUnknown.HOLD, expires_at=now + DAY), now=now
    )  # fmt: skip
    whatsapp_id = f"w-{kept.id}"
    match state:
        case State.QUEUED:
            pass
        case State.CANCELLED:
            await store.cancel(kept.id, now=now)
        case State.EXPIRED:
            await store.expire(now=now + DAY)
        case _:
            claim = await claimed(store, now=now)
            assert claim.message.id == kept.id
            if state is State.DEAD:
                await store.fail(claim, result=SendResult.PERMANENT, error="e", retry_at=None, now=now)
            elif state in {State.UNKNOWN, State.HELD}:
                await store.mark_unknown(claim, whatsapp_id=whatsapp_id, error="e", now=now)
                if state is State.HELD:
                    await store.resolve_unknown(kept.id, now=now)
            elif state is not State.SENDING:
                await store.complete(claim, whatsapp_id=whatsapp_id, now=now)
                if state is not State.SENT:
                    await store.receive([whatsapp_id], state=state, at=now, now=now)
    found = await store.get(kept.id)
    assert found is not None
    assert found.state is state
    return found


# --- find ---------------------------------------------------------------------------------------------


async def pages(store: QueueStore, query: Query) -> list[list[Message]]:
    """Every page, the first one first."""
    found, before = [], query.before
    while True:
        page = await store.find(Query(states=query.states, chat=query.chat, before=before, limit=query.limit))
        found.append(page.messages)
        if page.next is None:
            return found
        before = page.next


async def test_messages_are_listed_the_latest_first_in_pages_without_gap_or_repetition(
    store: QueueStore, clock: FakeClock
) -> None:
    kept = await keep(store, *(to(ANN, str(i)) for i in range(10)), now=clock.now())
    found = await pages(store, Query(limit=4))

    assert [len(page) for page in found] == [4, 4, 2]
    assert [message for page in found for message in page] == kept[::-1]


async def test_a_full_last_page_is_the_last(store: QueueStore, clock: FakeClock) -> None:
    await keep(store, to(ANN), to(BEN), now=clock.now())
    assert (await store.find(Query(limit=2))).next is None
    assert (await store.find(Query(limit=2, states=frozenset({State.QUEUED})))).next is None
    assert (await store.find(Query(limit=2, before=0))).messages == []


async def test_what_is_accepted_while_one_turns_the_pages_shifts_none(
    store: QueueStore, clock: FakeClock
) -> None:
    kept = await keep(store, to(ANN), to(ANN), to(ANN), to(ANN), now=clock.now())
    first = await store.find(Query(limit=2))
    await keep(store, to(BEN), to(BEN), now=clock.now())
    second = await store.find(Query(limit=2, before=first.next))

    assert [*first.messages, *second.messages] == kept[::-1]


@EVERY_STATE
async def test_messages_are_found_by_state(store: QueueStore, clock: FakeClock, state: State) -> None:
    by_state: dict[State, Message] = {}
    for each in (State.EXPIRED, *(one for one in State if one not in {State.EXPIRED, State.QUEUED})):
        by_state[each] = await brought_to(each, store, clock, phone=f"1555000{len(by_state):04}")
    by_state[State.QUEUED] = await brought_to(State.QUEUED, store, clock, phone=CLEO)

    assert (await store.find(Query(states=frozenset({state})))).messages == [by_state[state]]
    others = [message for each, message in by_state.items() if each is not state]
    found = await pages(store, Query(states=frozenset(State) - {state}, limit=3))
    assert [message for page in found for message in page] == others[::-1]


async def test_messages_are_found_by_chat_and_by_chat_and_state(store: QueueStore, clock: FakeClock) -> None:
    ann_1, _, ann_2, _, ann_3 = await keep(
        store, to(ANN), to(BEN), to(ANN), to(BEN), to(ANN), now=clock.now()
    )
    held = await store.hold(ann_2.id, now=clock.now())

    by_chat = await pages(store, Query(chat=ann_1.chat, limit=2))
    assert by_chat == [[ann_3, held], [ann_1]]
    both = await pages(store, Query(chat=ann_1.chat, states=frozenset({State.HELD}), limit=1))
    assert [message for page in both for message in page] == [held]
    queued = await pages(store, Query(chat=ann_1.chat, states=frozenset({State.QUEUED}), limit=1))
    assert [message for page in queued for message in page] == [ann_3, ann_1]
    assert (await store.find(Query(chat="nobody"))).messages == []


# --- step in ------------------------------------------------------------------------------------------

Step = Callable[[QueueStore, str, float], Awaitable[Message | None]]
STEPS: dict[str, Step] = {
    "cancel": lambda store, message_id, now: store.cancel(message_id, now=now),
    "hold": lambda store, message_id, now: store.hold(message_id, now=now),
    "requeue": lambda store, message_id, now: store.requeue(message_id, now=now),
}
LEADS_TO = {
    ("cancel", State.QUEUED): State.CANCELLED,
    ("cancel", State.HELD): State.CANCELLED,
    ("hold", State.QUEUED): State.HELD,
    ("requeue", State.HELD): State.QUEUED,
    ("requeue", State.DEAD): State.QUEUED,
    ("requeue", State.EXPIRED): State.QUEUED,
}


@EVERY_STATE
@pytest.mark.parametrize("step", STEPS)
async def test_a_step_by_hand_moves_what_it_is_for_and_leaves_anything_else_alone(
    store: QueueStore, clock: FakeClock, step: str, state: State
) -> None:
    before = await brought_to(state, store, clock)
    after = await STEPS[step](store, before.id, clock.now())

    assert after == await store.get(before.id)
    if (step, state) in LEADS_TO:
        assert after is not None
        assert after.state is LEADS_TO[step, state]
    else:
        assert after == before


@pytest.mark.parametrize("step", STEPS)
async def test_a_step_by_hand_on_what_is_not_kept_is_none(store: QueueStore, step: str) -> None:
    assert await STEPS[step](store, "no such id", 1.0) is None


@pytest.mark.parametrize("step", ["cancel", "hold"])
async def test_a_message_taken_out_of_line_lets_the_next_go(
    store: QueueStore, clock: FakeClock, step: str
) -> None:
    first, second = await keep(store, to(ANN, "1"), to(ANN, "2"), now=clock.now())
    await STEPS[step](store, first.id, clock.now())

    assert (await claimed(store, now=clock.now())).message.id == second.id
    assert not await store.claim(worker="worker", now=clock.now())


async def test_a_released_message_goes_out_before_those_accepted_after_it(
    store: QueueStore, clock: FakeClock
) -> None:
    first, second = await keep(store, to(ANN, "1"), to(ANN, "2"), now=clock.now())
    await store.hold(first.id, now=clock.now())
    await store.requeue(first.id, now=clock.now())

    taken = [(await claimed(store, now=clock.now())).message.id for _ in range(2)]
    assert taken == [first.id, second.id]


async def test_a_message_queued_by_hand_is_due_at_once_under_a_new_secret(
    store: QueueStore, clock: FakeClock
) -> None:
    (kept,) = await keep(store, to(ANN, not_before=clock.now() + DAY), now=clock.now())
    await store.hold(kept.id, now=clock.now())
    clock.advance(5)
    queued = await store.requeue(kept.id, now=clock.now())

    assert queued is not None
    assert (queued.due_at, queued.seq, queued.finished_at) == (clock.now(), kept.seq, None)
    assert queued.secret != kept.secret
    assert (await claimed(store, now=clock.now())).message.id == kept.id


@pytest.mark.parametrize(
    ("state", "attempts"), [(State.DEAD, 0), (State.EXPIRED, 0), (State.HELD, 1)], ids=str
)
async def test_attempts_begin_anew_out_of_an_end_state_only(
    store: QueueStore, clock: FakeClock, state: State, attempts: int
) -> None:
    before = await brought_to(state, store, clock)
    queued = await store.requeue(before.id, now=clock.now())
    assert queued is not None
    assert queued.attempts == attempts


async def test_a_message_queued_by_hand_has_time_to_go_out(store: QueueStore, clock: FakeClock) -> None:
    in_time, late = [await brought_to(State.DEAD, store, clock, phone=phone) for phone in (ANN, BEN)]
    clock.advance(DAY / 2)
    kept = await store.requeue(in_time.id, now=clock.now())
    clock.advance(DAY)
    extended = await store.requeue(late.id, now=clock.now())

    assert kept is not None
    assert extended is not None
    assert kept.expires_at == in_time.expires_at
    assert extended.expires_at == clock.now() + DEFAULT_TTL_S


async def test_every_dead_message_is_queued_again_at_one_word(store: QueueStore, clock: FakeClock) -> None:
    many = 600
    await keep(store, *(to(ANN, str(i)) for i in range(many)), now=clock.now())
    for _ in range(many):
        claim = await claimed(store, now=clock.now())
        await store.fail(claim, result=SendResult.PERMANENT, error="e", retry_at=None, now=clock.now())
    held = await brought_to(State.HELD, store, clock)

    assert await store.requeue_dead(now=clock.now()) == many
    assert await store.requeue_dead(now=clock.now()) == 0
    assert (store.counts()[State.QUEUED], store.counts()[State.DEAD]) == (many, 0)
    assert await store.get(held.id) == held


async def test_a_cancelled_message_that_arrived_after_all_is_delivered(
    store: QueueStore, clock: FakeClock
) -> None:
    """Its outcome was unknown when a person cancelled it."""
    held = await brought_to(State.HELD, store, clock)
    assert held.whatsapp_id is not None
    await store.cancel(held.id, now=clock.now())
    (moved,) = await store.receive([held.whatsapp_id], state=State.DELIVERED, at=clock.now(), now=clock.now())
    assert (moved.before, moved.message.state) == (State.CANCELLED, State.DELIVERED)

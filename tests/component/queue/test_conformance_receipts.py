"""What every queue store promises about unknown outcomes and receipts."""

import pytest

from service.queue.model import OnUnknown, State
from service.queue.store import QueueStore
from tests.clock import FakeClock
from tests.component.queue.conftest import MakeStore
from tests.component.queue.support import SETTLINGS, claimed, keep, settle, to
from tests.people import ANN, BEN

HOUR = 3600.0


# --- unknown outcomes ---------------------------------------------------------------------------------


async def test_what_a_killed_process_left_is_found_by_the_next(
    store: QueueStore, make_store: MakeStore, clock: FakeClock
) -> None:
    ann, ben = await keep(store, to(ANN), to(BEN), now=clock.now())
    for _ in range(2):
        await claimed(store, now=clock.now(), worker="killed")
    await store.close()

    again = make_store()
    await again.open()
    try:
        orphans = await again.orphans(worker="new")
        assert {claim.message.id for claim in orphans} == {ann.id, ben.id}
        assert {claim.message.secret for claim in orphans} == {ann.secret, ben.secret}
        assert await again.orphans(worker="killed") == []
        for claim in orphans:
            await again.release(claim, now=clock.now())
        assert (await claimed(again, now=clock.now(), worker="new")).message.id == ann.id
    finally:
        await again.close()


async def test_an_unknown_outcome_holds_back_its_chat_until_a_receipt_comes(
    store: QueueStore, clock: FakeClock
) -> None:
    first, second = await keep(store, to(ANN, "1"), to(ANN, "2"), now=clock.now())
    claim = await claimed(store, now=clock.now())
    unknown = await store.mark_unknown(claim, whatsapp_id="w1", error="timed out", now=clock.now())

    assert (unknown.state, unknown.whatsapp_id, unknown.attempts) == (State.UNKNOWN, "w1", 1)
    assert [message.id for message in await store.unknowns()] == [first.id]
    assert not await store.claim(worker="worker", now=clock.now())
    assert await store.next_due() is None

    await store.receive(["w1"], state=State.DELIVERED, at=clock.now(), now=clock.now())
    assert await store.unknowns() == []
    assert (await claimed(store, now=clock.now())).message.id == second.id


@pytest.mark.parametrize(
    ("on_unknown", "state"), [(OnUnknown.RESEND, State.QUEUED), (OnUnknown.HOLD, State.HELD)]
)
async def test_without_a_receipt_on_unknown_decides(
    store: QueueStore, clock: FakeClock, on_unknown: OnUnknown, state: State
) -> None:
    (kept,) = await keep(store, to(ANN, on_unknown=on_unknown), now=clock.now())
    claim = await claimed(store, now=clock.now())
    await store.mark_unknown(claim, whatsapp_id="w1", error="e", now=clock.now())

    resolved = await store.resolve_unknown(kept.id, now=clock.now())
    assert resolved is not None
    assert resolved.state is state


async def test_resolving_touches_only_what_is_unknown(store: QueueStore, clock: FakeClock) -> None:
    (kept,) = await keep(store, to(ANN), now=clock.now())
    assert await store.resolve_unknown(kept.id, now=clock.now()) == kept
    assert await store.resolve_unknown("no such id", now=clock.now()) is None


async def test_a_held_message_does_not_hold_back_its_chat(store: QueueStore, clock: FakeClock) -> None:
    held, second = await keep(store, to(ANN, "1", on_unknown=OnUnknown.HOLD), to(ANN, "2"), now=clock.now())
    claim = await claimed(store, now=clock.now())
    await store.mark_unknown(claim, whatsapp_id="w1", error="e", now=clock.now())
    await store.resolve_unknown(held.id, now=clock.now())
    assert (await claimed(store, now=clock.now())).message.id == second.id


# --- receipts -----------------------------------------------------------------------------------------


async def test_receipts_move_a_message_forward_and_never_back(store: QueueStore, clock: FakeClock) -> None:
    (kept,) = await keep(store, to(ANN), now=clock.now())
    await store.complete(await claimed(store, now=clock.now()), whatsapp_id="w1", now=clock.now())
    delivered_at, read_at = clock.now() + 1, clock.now() + 5

    async def receive(state: State, at: float) -> list[tuple[State, State]]:
        moved = await store.receive(["w1"], state=state, at=at, now=clock.now())
        return [(one.before, one.message.state) for one in moved]

    assert await receive(State.DELIVERED, delivered_at) == [(State.SENT, State.DELIVERED)]
    assert await receive(State.DELIVERED, delivered_at + 1) == []
    assert await receive(State.READ, read_at) == [(State.DELIVERED, State.READ)]
    assert await receive(State.DELIVERED, read_at + 1) == []
    found = await store.get(kept.id)
    assert found is not None
    assert (found.delivered_at, found.read_at) == (delivered_at, read_at)


async def test_one_receipt_may_be_for_many_messages(store: QueueStore, clock: FakeClock) -> None:
    await keep(store, to(ANN, "1"), to(ANN, "2"), now=clock.now())
    for i in range(2):
        await store.complete(await claimed(store, now=clock.now()), whatsapp_id=f"w{i}", now=clock.now())
    moved = await store.receive(["w0", "w1", "not ours"], state=State.READ, at=clock.now(), now=clock.now())
    assert [one.message.whatsapp_id for one in moved] == ["w0", "w1"]
    assert store.counts()[State.READ] == 2


@pytest.mark.parametrize("first", [State.DELIVERED, State.READ])
async def test_a_receipt_that_comes_before_the_send_returns_is_remembered(
    store: QueueStore, clock: FakeClock, first: State
) -> None:
    await keep(store, to(ANN), now=clock.now())
    claim = await claimed(store, now=clock.now())
    at = clock.now()
    for state in (first, State.DELIVERED):
        assert await store.receive(["w1"], state=state, at=at, now=clock.now()) == []
    await store.prune(now=clock.now() + HOUR - 1)

    message = await store.complete(claim, whatsapp_id="w1", now=clock.now() + 1)
    assert (message.state, message.delivered_at, message.sent_at) == (first, at, clock.now() + 1)


async def test_an_early_receipt_also_settles_an_unknown_outcome(store: QueueStore, clock: FakeClock) -> None:
    await keep(store, to(ANN), now=clock.now())
    claim = await claimed(store, now=clock.now())
    await store.receive(["w1"], state=State.DELIVERED, at=clock.now(), now=clock.now())
    message = await store.mark_unknown(claim, whatsapp_id="w1", error="e", now=clock.now())
    assert message.state is State.DELIVERED


async def test_an_early_receipt_is_forgotten_after_an_hour(store: QueueStore, clock: FakeClock) -> None:
    await keep(store, to(ANN), now=clock.now())
    claim = await claimed(store, now=clock.now())
    await store.receive(["w1"], state=State.DELIVERED, at=clock.now(), now=clock.now())
    await store.prune(now=clock.now() + HOUR)
    message = await store.complete(claim, whatsapp_id="w1", now=clock.now() + HOUR)
    assert message.state is State.SENT


@pytest.mark.parametrize("how", SETTLINGS)
async def test_a_late_receipt_of_an_earlier_attempt_wins_over_the_attempt_under_way(
    store: QueueStore, clock: FakeClock, how: str
) -> None:
    (kept,) = await keep(store, to(ANN), now=clock.now())
    claim = await claimed(store, now=clock.now())
    await store.mark_unknown(claim, whatsapp_id="w1", error="e", now=clock.now())
    await store.resolve_unknown(kept.id, now=clock.now())
    again = await claimed(store, now=clock.now())

    (moved,) = await store.receive(["w1"], state=State.DELIVERED, at=clock.now(), now=clock.now())
    assert (moved.before, moved.message.state) == (State.SENDING, State.DELIVERED)

    message = await settle(store, again, how, now=clock.now())
    assert message.state is State.DELIVERED
    assert not await store.claim(worker="worker", now=clock.now())


async def test_a_late_receipt_keeps_a_message_from_being_sent_again(
    store: QueueStore, clock: FakeClock
) -> None:
    (kept,) = await keep(store, to(ANN), now=clock.now())
    claim = await claimed(store, now=clock.now())
    await store.mark_unknown(claim, whatsapp_id="w1", error="e", now=clock.now())
    await store.resolve_unknown(kept.id, now=clock.now())

    (moved,) = await store.receive(["w1"], state=State.READ, at=clock.now(), now=clock.now())
    assert (moved.before, moved.message.state) == (State.QUEUED, State.READ)
    assert not await store.claim(worker="worker", now=clock.now())

"""What every queue store promises beside sending: second copies, files, acquaintances, adoption."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

import pytest

from service.engine.content import File, Image
from service.queue.model import (
    RETENTION_S,
    Acquaintance,
    Cooldown,
    Cooling,
    Message,
    Moves,
    NewMessage,
    State,
)
from service.queue.store import QueueStore
from tests.clock import FakeClock
from tests.component.queue.conftest import MakeStore
from tests.component.queue.support import SETTLINGS, claimed, keep, settle, to
from tests.people import ANN, BEN, CLEO

HOUR = 3600.0
DAY = 86_400.0
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40


# --- asked for again ----------------------------------------------------------------------------------


async def sent(store: QueueStore, clock: FakeClock, *, whatsapp_id: str = "w1") -> Message:
    """Claim the next and complete it."""
    return await store.complete(
        await claimed(store, now=clock.now()), whatsapp_id=whatsapp_id, now=clock.now()
    )


async def test_a_message_that_could_not_be_read_is_queued_again_under_a_new_secret(
    store: QueueStore, clock: FakeClock
) -> None:
    first, second = await keep(store, to(ANN, "1"), to(ANN, "2"), now=clock.now())
    await sent(store, clock)
    clock.advance(5)
    again = await store.resend("w1", now=clock.now())

    assert again is not None
    assert (again.id, again.state, again.due_at, again.resends) == (first.id, State.QUEUED, clock.now(), 1)
    assert again.secret != first.secret
    assert again == await store.get(first.id)
    assert [(await claimed(store, now=clock.now())).message.id for _ in range(2)] == [first.id, second.id]


async def test_a_second_copy_is_sent_once(store: QueueStore, clock: FakeClock) -> None:
    await keep(store, to(ANN), now=clock.now())
    await sent(store, clock)
    first = await store.resend("w1", now=clock.now())
    assert await store.resend("w1", now=clock.now()) == first, "it is queued already"
    second = await sent(store, clock, whatsapp_id="w2")

    assert (second.state, second.resends, second.whatsapp_id) == (State.SENT, 1, "w2")
    assert await store.resend("w2", now=clock.now()) == second
    assert store.counts()[State.QUEUED] == 0


async def test_only_what_was_sent_and_not_delivered_is_sent_again(
    store: QueueStore, clock: FakeClock
) -> None:
    await keep(store, to(ANN), now=clock.now())
    await sent(store, clock)
    (moved,) = await store.receive(["w1"], state=State.DELIVERED, at=clock.now(), now=clock.now())
    assert await store.resend("w1", now=clock.now()) == moved.message
    assert await store.resend("nobody's", now=clock.now()) is None


async def test_a_receipt_of_the_first_copy_counts_while_the_second_waits(
    store: QueueStore, clock: FakeClock
) -> None:
    await keep(store, to(ANN), now=clock.now())
    await sent(store, clock)
    await store.resend("w1", now=clock.now())
    (moved,) = await store.receive(["w1"], state=State.DELIVERED, at=clock.now(), now=clock.now())

    assert (moved.before, moved.message.state) == (State.QUEUED, State.DELIVERED)
    assert not await store.claim(worker="worker", now=clock.now())


async def test_a_second_copy_has_time_to_go_out(store: QueueStore, clock: FakeClock) -> None:
    await keep(store, to(ANN, expires_at=clock.now() + 10), now=clock.now())
    await sent(store, clock)
    clock.advance(HOUR)
    again = await store.resend("w1", now=clock.now())
    assert again is not None
    assert again.expires_at == clock.now() + DAY


# --- files --------------------------------------------------------------------------------------------


def picture(sha256: str, *, to: str = ANN) -> NewMessage:
    """A message that names a kept file."""
    file = File(sha256=sha256, media_type="image/png", size_bytes=len(PICTURE))
    return NewMessage(chat=f"{to}@s.whatsapp.net", content=Image(file=file))


async def test_kept_bytes_are_there_after_a_restart_under_their_sha256(
    store: QueueStore, make_store: MakeStore, clock: FakeClock
) -> None:
    name = await store.keep_file(PICTURE, now=clock.now())
    assert name == "65c23cac92f7e4fb581cabf51990bf6da9e19bd34d143f9ecf7472816c28e399"
    assert await store.keep_file(PICTURE, now=clock.now()) == name
    await store.close()

    again = make_store()
    await again.open()
    try:
        assert await again.file(name) == PICTURE
        assert await again.file("0" * 64) is None
    finally:
        await again.close()


async def test_an_empty_file_is_a_file(store: QueueStore, clock: FakeClock) -> None:
    assert await store.file(await store.keep_file(b"", now=clock.now())) == b""


async def test_a_file_that_nothing_names_is_kept_for_an_hour(store: QueueStore, clock: FakeClock) -> None:
    name = await store.keep_file(PICTURE, now=clock.now())
    await store.prune(now=clock.now() + HOUR - 1)
    assert await store.file(name) == PICTURE
    await store.keep_file(PICTURE, now=clock.now() + HOUR - 1)
    await store.prune(now=clock.now() + HOUR)
    assert await store.file(name) == PICTURE, "it was handed in again meanwhile"
    await store.prune(now=clock.now() + 2 * HOUR - 1)
    assert await store.file(name) is None


async def test_a_file_is_kept_as_long_as_a_message_names_it(store: QueueStore, clock: FakeClock) -> None:
    name = await store.keep_file(PICTURE, now=clock.now())
    one, other = await keep(store, picture(name), picture(name, to=BEN), now=clock.now())
    for passed in (HOUR, DAY, 60 * DAY):
        await store.prune(now=clock.now() + passed)
        assert await store.file(name) == PICTURE

    gone = RETENTION_S[State.CANCELLED]
    await store.cancel(one.id, now=clock.now())
    assert await store.prune(now=clock.now() + gone) == 1
    assert await store.file(name) == PICTURE, "the other one names it"
    await store.cancel(other.id, now=clock.now())
    assert await store.prune(now=clock.now() + gone) == 1
    assert await store.file(name) is None


async def test_many_files_are_forgotten_at_once(store: QueueStore, clock: FakeClock) -> None:
    names = [await store.keep_file(bytes([i]) * 100, now=clock.now()) for i in range(40)]
    (kept,) = await keep(store, picture(names[7]), now=clock.now())
    await store.prune(now=clock.now() + HOUR)
    assert [name for name in names if await store.file(name) is not None] == [names[7]]
    assert await store.get(kept.id) == kept


# --- acquaintances and cool-downs ---------------------------------------------------------------------


async def test_who_wrote_to_us_and_whom_we_wrote_to_is_known_after_a_restart(
    store: QueueStore, make_store: MakeStore, clock: FakeClock
) -> None:
    first_at = clock.now()
    ann, _, ben = await keep(store, to(ANN), to(ANN), to(BEN), now=first_at)
    await sent(store, clock, whatsapp_id="w1")
    clock.advance(60)
    await sent(store, clock, whatsapp_id="w2")
    await store.heard(ben.chat, at=clock.now())
    await store.heard(ben.chat, at=first_at)
    await store.close()

    again = make_store()
    await again.open()
    try:
        assert await again.acquaintance(ann.chat) == Acquaintance(first_at, None)
        assert await again.acquaintance(ben.chat) == Acquaintance(None, clock.now())
        assert await again.acquaintance("nobody") == Acquaintance(None, None)
    finally:
        await again.close()


@pytest.mark.parametrize("how", [how for how in SETTLINGS if how != "complete"])
async def test_what_was_not_surely_sent_makes_no_acquaintance(
    store: QueueStore, clock: FakeClock, how: str
) -> None:
    (ann,) = await keep(store, to(ANN), now=clock.now())
    await settle(store, await claimed(store, now=clock.now()), how, now=clock.now())
    assert await store.acquaintance(ann.chat) == Acquaintance(None, None)


async def test_strangers_are_those_first_written_to_since_who_never_answered(
    store: QueueStore, clock: FakeClock
) -> None:
    for phone in (ANN, BEN, CLEO):
        await keep(store, to(phone), now=clock.now())
        message = await sent(store, clock, whatsapp_id=f"w{phone}")
        clock.advance(60)
    begun = clock.now() - 120

    assert await store.strangers_since(0.0) == 3
    assert await store.strangers_since(begun) == 2
    await store.heard(message.chat, at=clock.now())
    assert await store.strangers_since(begun) == 1
    assert await store.strangers_since(clock.now()) == 0


async def test_what_another_store_knew_of_chats_is_taken_over(store: QueueStore) -> None:
    await store.acquaint({"a": Acquaintance(20.0, 30.0), "b": Acquaintance(20.0, None)})
    await store.acquaint({"a": Acquaintance(10.0, 20.0), "b": Acquaintance(None, 5.0)})
    await store.acquaint({"c": Acquaintance(None, None)})

    assert await store.acquaintance("a") == Acquaintance(10.0, 30.0)
    assert await store.acquaintance("b") == Acquaintance(20.0, 5.0)
    assert await store.acquaintance("c") == Acquaintance(None, None)
    assert await store.strangers_since(0.0) == 0


async def test_cool_downs_survive_a_restart_the_latest_word_counts(
    store: QueueStore, make_store: MakeStore
) -> None:
    assert await store.cooldowns() == {}
    await store.cool(Cooling.STRANGERS, Cooldown(100.0, 1))
    await store.cool(Cooling.UNASKED, Cooldown(50.0, 3))
    await store.cool(Cooling.STRANGERS, Cooldown(90.0, 2))
    await store.close()

    again = make_store()
    await again.open()
    try:
        assert await again.cooldowns() == {
            Cooling.STRANGERS: Cooldown(90.0, 2),
            Cooling.UNASKED: Cooldown(50.0, 3),
        }
    finally:
        await again.close()


# --- adoption -----------------------------------------------------------------------------------------


def foreign(messages: Sequence[Message], *, prefix: str = "f") -> list[Message]:
    """The same messages as another store would have them."""
    return [
        replace(
            message,
            id=str(uuid4()),
            seq=1000 + i,
            idempotency_key=message.idempotency_key and f"{prefix}{message.idempotency_key}",
            whatsapp_id=message.whatsapp_id and f"{prefix}{message.whatsapp_id}",
        )
        for i, message in enumerate(messages)
    ]


async def test_adopted_messages_are_as_they_were_in_the_order_given_after_all_that_are_here(
    store: QueueStore, clock: FakeClock
) -> None:
    here = await keep(store, to(ANN, "1", idempotency_key="k"), to(ANN, "2"), to(BEN), now=clock.now())
    given = foreign(here)
    assert await store.adopt(given, now=clock.now()) == 3

    for message in given:
        found = await store.get(message.id)
        assert found is not None
        assert replace(found, seq=message.seq) == message
        assert found.seq > here[-1].seq
    taken = [(await claimed(store, now=clock.now())).message.id for _ in range(6)]
    assert taken == [message.id for message in (*here, *given)]


async def test_what_is_here_already_is_not_adopted_again(store: QueueStore, clock: FakeClock) -> None:
    here = await keep(store, to(ANN, "1", idempotency_key="k"), to(BEN, "2"), now=clock.now())
    other = foreign(here)
    twin = replace(other[0], id=str(uuid4()))
    same_key = replace(foreign(here)[0], idempotency_key="k")

    assert await store.adopt(here, now=clock.now()) == 0
    assert await store.adopt([*other, twin, same_key], now=clock.now()) == 2
    assert await store.adopt(other, now=clock.now()) == 0
    assert [await store.get(message.id) for message in here] == here
    assert store.counts()[State.QUEUED] == 4
    assert await store.get(twin.id) is None
    assert await store.get(same_key.id) is None
    (again,) = await store.enqueue([to(ANN, idempotency_key="fk")], now=clock.now())
    assert (again.created, again.message.id) == (False, other[0].id)


async def test_adopted_claims_are_found_as_orphans_and_fenced_by_greater_tokens(
    store: QueueStore, clock: FakeClock
) -> None:
    await keep(store, to(ANN), now=clock.now())
    sending = (await claimed(store, now=clock.now(), worker="killed")).message
    (given,) = foreign([replace(sending, claim_token=1_000_000, chat=f"{BEN}@s.whatsapp.net")])
    await store.adopt([given], now=clock.now())
    await keep(store, to(BEN, "behind it"), now=clock.now())

    assert not await store.claim(worker="new", now=clock.now())
    orphan = next(o for o in await store.orphans(worker="new") if o.message.id == given.id)
    assert (orphan.token, orphan.message.secret, orphan.message.worker) == (
        1_000_000, sending.secret, "killed",
    )  # fmt: skip
    await store.release(orphan, now=clock.now())
    again = await claimed(store, now=clock.now(), worker="new")
    assert again.message.id == given.id
    assert again.token > 1_000_000


@pytest.mark.parametrize("state", [State.SENT, State.UNKNOWN], ids=str)
async def test_receipts_of_adopted_messages_count(store: QueueStore, clock: FakeClock, state: State) -> None:
    await keep(store, to(ANN), now=clock.now())
    claim = await claimed(store, now=clock.now())
    if state is State.SENT:
        here = await store.complete(claim, whatsapp_id="w1", now=clock.now())
    else:
        here = await store.mark_unknown(claim, whatsapp_id="w1", error="e", now=clock.now())
    (given,) = foreign([here])
    await store.adopt([given], now=clock.now())

    (moved,) = await store.receive(["fw1"], state=State.DELIVERED, at=clock.now(), now=clock.now())
    assert (moved.message.id, moved.before) == (given.id, state)


async def test_adopted_messages_are_counted_and_told(store: QueueStore, clock: FakeClock) -> None:
    await keep(store, to(ANN), to(BEN), now=clock.now())
    done = await sent(store, clock)
    (waiting,) = await keep(store, to(CLEO), now=clock.now())
    before = store.counts()
    told: list[Moves] = []
    store.subscribe(told.append)
    await store.adopt(foreign([done, waiting, waiting]), now=clock.now())

    assert [dict(moves) for moves in told] == [{(None, State.SENT): 1, (None, State.QUEUED): 2}]
    assert store.counts()[State.SENT] == before[State.SENT] + 1
    assert store.counts()[State.QUEUED] == before[State.QUEUED] + 2
    assert await store.adopt([], now=clock.now()) == 0

"""The queue as the rest of the service sees it."""

import hashlib

import pytest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from service.engine.content import Text
from service.errors import InputTooLarge, InvalidInput, StoreFull
from service.queue.metrics import QueueMetrics
from service.queue.model import NewMessage, Query, SendResult, State
from service.queue.outbox import Outbox
from service.queue.store import QueueStore
from service.telemetry.bound import BURST_S, Bound, BoundMetrics
from service.telemetry.traceparent import context_of
from tests.clock import FakeClock
from tests.component.queue.support import to, value
from tests.people import ANN, BEN

PER_SECOND = 0.5


@pytest.fixture
def woken() -> list[bool]:
    return []


@pytest.fixture
def outbox(
    store: QueueStore,
    clock: FakeClock,
    metrics: QueueMetrics,
    registry: CollectorRegistry,
    woken: list[bool],
) -> Outbox:
    return Outbox(
        store=store,
        wake=lambda: woken.append(True),
        clock=clock,
        metrics=metrics,
        tracer=TracerProvider().get_tracer("test"),
        bound=Bound(PER_SECOND, clock=clock),
        bound_metrics=BoundMetrics(registry, "default"),
    )


async def test_enqueue_keeps_messages_wakes_the_dispatcher_and_tells_listeners(
    outbox: Outbox, registry: CollectorRegistry, woken: list[bool]
) -> None:
    told: list[int] = []
    unsubscribe = outbox.subscribe(lambda: told.append(outbox.counts()[State.QUEUED]))
    answers = await outbox.enqueue([to(ANN, idempotency_key="k"), to(BEN), to(BEN, idempotency_key="k")])
    unsubscribe()
    await outbox.enqueue([to(ANN)])

    assert [answer.created for answer in answers] == [True, True, False]
    assert told == [2]
    assert len(woken) == 2
    assert value(registry, "whatsapp_queue_enqueued_total", outcome="created") == 3
    assert value(registry, "whatsapp_queue_enqueued_total", outcome="duplicate") == 1
    assert value(registry, "whatsapp_queue_messages", state="queued") == 3
    assert value(registry, "whatsapp_queue_oldest_timestamp_seconds") == outbox.oldest_queued_at()


async def test_a_phone_number_becomes_its_chat_and_the_trace_goes_with_the_message(outbox: Outbox) -> None:
    (answer,) = await outbox.enqueue([NewMessage(chat=f"+{ANN}", content=Text(text="hello"))])
    assert answer.message.chat == f"{ANN}@s.whatsapp.net"
    assert answer.message.traceparent is not None
    assert await outbox.get(answer.message.id) == answer.message


async def test_beyond_the_bound_messages_are_named_in_the_log_and_not_recorded(
    outbox: Outbox, registry: CollectorRegistry, clock: FakeClock
) -> None:
    room = int(PER_SECOND * BURST_S)
    batch = [to(ANN, idempotency_key=f"{at}") for at in range(room + 2)]

    first = [context_of(answer.message.traceparent) for answer in await outbox.enqueue(batch)]
    assert [context.trace_flags.sampled for context in first] == [*[True] * room, False, False]
    assert len({(context.trace_id, context.span_id) for context in first}) == 1
    assert value(registry, "whatsapp_telemetry_unrecorded_messages_total") == 2

    await outbox.enqueue(batch)
    assert value(registry, "whatsapp_telemetry_unrecorded_messages_total") == 2, "none is a new one"

    clock.advance(1 / PER_SECOND)
    (answer,) = await outbox.enqueue([to(BEN)])
    assert context_of(answer.message.traceparent).trace_flags.sampled


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (NewMessage(chat="12", content=Text(text="x")), "messages[1].to"),
        (to(ANN, " "), "messages[1].text"),
        (to(ANN, priority=10), "messages[1].priority"),
        (to(ANN, max_attempts=0), "messages[1].max_attempts"),
        (to(ANN, expires_at=1.0), "messages[1].expires_at"),
    ],
)
async def test_one_wrong_message_refuses_them_all_and_is_named(
    outbox: Outbox, woken: list[bool], wrong: NewMessage, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await outbox.enqueue([to(ANN), wrong])
    assert refused.value.field == field
    assert outbox.counts()[State.QUEUED] == 0
    assert woken == []


async def test_what_the_store_cannot_keep_is_counted_as_rejected(
    outbox: Outbox, store: QueueStore, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> None:
        raise StoreFull("disk full")

    monkeypatch.setattr(store, "enqueue", full)
    with pytest.raises(StoreFull):
        await outbox.enqueue([to(ANN), to(BEN)])
    assert value(registry, "whatsapp_queue_enqueued_total", outcome="rejected") == 2


async def test_every_fault_of_a_batch_is_told_and_a_size_is_told_as_such(outbox: Outbox) -> None:
    with pytest.raises(InvalidInput) as refused:
        await outbox.enqueue([to(ANN, ""), to(ANN), to(BEN, "x" * 65_537)])

    assert [fault.field for fault in refused.value.others] == ["messages[2].text"]
    assert isinstance(refused.value.others[0], InputTooLarge)


async def test_what_a_person_wants_wakes_the_dispatcher(
    outbox: Outbox, store: QueueStore, clock: FakeClock, woken: list[bool]
) -> None:
    (kept,) = await outbox.enqueue([to(ANN)])
    wishes = [
        (outbox.hold, State.HELD),
        (outbox.release, State.QUEUED),
        (outbox.hold, State.HELD),
        (outbox.requeue, State.QUEUED),
        (outbox.cancel, State.CANCELLED),
    ]
    for wish, state in wishes:
        woken.clear()
        message = await wish(kept.message.id)
        assert message is not None
        assert message.state is state
        assert woken == [True]
        assert await wish("nobody") is None


async def test_only_a_held_message_is_released(outbox: Outbox, store: QueueStore, clock: FakeClock) -> None:
    (kept,) = await outbox.enqueue([to(ANN)])
    (claim,) = await store.claim(worker="w", now=clock.now())
    await store.fail(claim, result=SendResult.PERMANENT, error="no", retry_at=None, now=clock.now())

    message = await outbox.release(kept.message.id)
    assert message is not None
    assert message.state is State.DEAD


async def test_all_dead_messages_are_queued_again(
    outbox: Outbox, store: QueueStore, clock: FakeClock, woken: list[bool]
) -> None:
    await outbox.enqueue([to(ANN), to(BEN)])
    for _ in range(2):
        (claim,) = await store.claim(worker="w", now=clock.now())
        await store.fail(claim, result=SendResult.PERMANENT, error="no", retry_at=None, now=clock.now())
    woken.clear()

    assert await outbox.requeue_dead() == 2
    assert woken == [True]
    assert outbox.counts()[State.QUEUED] == 2
    page = await outbox.find(Query(states=frozenset({State.QUEUED}), limit=1))
    assert [message.chat for message in page.messages] == [f"{BEN}@s.whatsapp.net"]


async def test_a_file_is_kept_under_its_hash(outbox: Outbox, store: QueueStore) -> None:
    sha256 = await outbox.keep_file(b"a picture")

    assert sha256 == hashlib.sha256(b"a picture").hexdigest()
    assert await store.file(sha256) == b"a picture"

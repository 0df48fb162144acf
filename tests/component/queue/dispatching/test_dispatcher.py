"""The dispatcher: who goes out when, and what becomes of each answer."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from service.engine.protocol import ReceiptKind, Refusal
from service.errors import StoreFull
from service.queue.dispatcher import AT_HAND
from service.queue.model import Receipted, SendResult, State
from service.queue.store import QueueStore
from tests.component.queue.dispatching.harness import Queue
from tests.component.queue.support import keep, to, until
from tests.people import ANN, BEN, CLEO

# --- when messages go out -----------------------------------------------------------------------------


async def test_what_waits_is_sent_at_once_when_connected(queue: Queue) -> None:
    (kept,) = await queue.post(to(ANN, "hello"))
    assert queue.engine.sends == []

    queue.dispatcher.connected()
    sending = await queue.engine.nth(1)
    assert (sending.chat, sending.text, sending.secret) == (kept.chat, "hello", kept.secret)

    whatsapp_id = queue.engine.acknowledge(sending)
    await queue.state(kept, State.SENT)
    found = await queue.outbox.get(kept.id)
    assert found is not None
    assert found.whatsapp_id == whatsapp_id


async def test_a_new_message_wakes_an_idle_dispatcher(queue: Queue) -> None:
    queue.dispatcher.connected()
    await queue.settle_down()
    await queue.post(to(ANN))
    await queue.engine.nth(1)


async def test_a_message_for_later_goes_out_when_its_time_comes(queue: Queue) -> None:
    queue.dispatcher.connected()
    await queue.post(to(ANN, not_before=queue.clock.now() + 3))
    await queue.pass_time(2.5, step_s=0.5)
    assert queue.engine.sends == []
    await queue.pass_time(1, step_s=0.5)
    await queue.engine.nth(1)


async def test_being_disconnected_holds_everything_and_burns_nothing(queue: Queue) -> None:
    queue.dispatcher.connected()
    queue.dispatcher.disconnected()
    (kept,) = await queue.post(to(ANN))
    await queue.pass_time(30)
    assert queue.engine.sends == []
    assert await queue.store.get(kept.id) == kept


async def test_a_few_messages_are_at_hand_and_no_more(queue: Queue) -> None:
    queue.dispatcher.connected()
    half = AT_HAND // 2
    await queue.post(*(to(ANN, str(i)) for i in range(AT_HAND + half + 1)))
    await queue.engine.nth(AT_HAND)
    await queue.settle_down()
    assert queue.engine.texts == [str(i) for i in range(AT_HAND)]
    assert [sending.behind for sending in queue.engine.sends] == [
        None,
        *(sending.token for sending in queue.engine.sends[:-1]),
    ]

    for sending in queue.engine.sends[: half - 1]:
        queue.engine.acknowledge(sending)
    await queue.counts(sent=half - 1)
    assert len(queue.engine.sends) == AT_HAND

    queue.engine.acknowledge(queue.engine.sends[half - 1])
    await queue.engine.nth(AT_HAND + half)
    await queue.settle_down()
    assert len(queue.engine.sends) == AT_HAND + half


async def test_a_long_queue_goes_out_whole_and_in_order(queue: Queue) -> None:
    queue.engine.acknowledges = True
    queue.dispatcher.connected()
    people = (ANN, BEN, CLEO)
    await queue.post(*(to(people[i % 3], str(i)) for i in range(150)))
    await queue.counts(sent=150)
    for n, person in enumerate(people):
        texts = [sending.text for sending in queue.engine.sends if sending.chat.startswith(person)]
        assert texts == [str(i) for i in range(n, 150, 3)]


# --- what becomes of an answer ------------------------------------------------------------------------


async def test_a_refusal_for_good_is_dead_with_the_reason(queue: Queue) -> None:
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN))
    queue.engine.fail(await queue.engine.nth(1), "server returned error 400")
    await queue.state(kept, State.DEAD)
    found = await queue.outbox.get(kept.id)
    assert found is not None
    assert (found.last_error, found.attempts) == ("server returned error 400", 1)
    assert queue.attempts(result="permanent") == 1
    assert queue.value("terminal_total", state="dead") == 1


async def test_a_failed_attempt_is_repeated_after_its_wait_and_holds_back_only_its_chat(queue: Queue) -> None:
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN, "first"))
    queue.engine.fail(await queue.engine.nth(1), "failed to get device list: info query timed out")
    await queue.state(kept, State.QUEUED)
    await queue.post(to(ANN, "second"), to(BEN, "other"))
    assert (await queue.engine.nth(2)).text == "other"

    await queue.pass_time(2)
    assert (await queue.engine.nth(3)).text == "first"
    assert (await queue.engine.nth(4)).text == "second"
    assert queue.engine.sends[3].behind == queue.engine.sends[2].token


@pytest.mark.parametrize("refusal", [Refusal.NOT_CONNECTED, Refusal.BUSY])
async def test_what_was_not_begun_burns_no_attempt_and_is_not_repeated_in_a_frenzy(
    queue: Queue, refusal: Refusal
) -> None:
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN, max_attempts=1))
    for n in range(1, 6):
        queue.engine.refuse(await queue.engine.nth(n), refusal)
        await queue.state(kept, State.QUEUED)
        await queue.settle_down()
        assert len(queue.engine.sends) == n, "it waits a moment first"
        await queue.pass_time(10, step_s=0.5)
    found = await queue.outbox.get(kept.id)
    assert found is not None
    assert found.attempts == 0
    assert queue.attempts(result="not_connected") == 5


async def test_connecting_again_ends_the_moment_of_waiting(queue: Queue) -> None:
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN))
    queue.engine.refuse(await queue.engine.nth(1), Refusal.NOT_CONNECTED)
    await queue.state(kept, State.QUEUED)
    queue.dispatcher.disconnected()
    queue.dispatcher.connected()
    await queue.engine.nth(2)


async def test_after_a_failure_those_behind_it_are_not_sent_before_it(queue: Queue) -> None:
    queue.dispatcher.connected()
    await queue.post(to(ANN, "1"), to(ANN, "2"), to(ANN, "3"))
    one, two, three = [await queue.engine.nth(n) for n in (1, 2, 3)]
    queue.engine.fail(one, "server returned error 500")
    queue.engine.refuse(two, Refusal.SKIPPED)
    queue.engine.refuse(three, Refusal.SKIPPED)
    await queue.counts(queued=3, sending=0)
    await queue.settle_down()
    assert queue.engine.texts == ["1", "2", "3"]

    queue.engine.acknowledges = True
    await queue.pass_time(3)
    await queue.counts(sent=3)
    assert queue.engine.texts[3:] == ["1", "2", "3"]
    assert queue.attempts(result="retryable") == 1
    assert queue.attempts(result="not_connected") == 0, "a skipped one was no attempt"


async def test_those_behind_a_dead_one_go_on(queue: Queue) -> None:
    queue.dispatcher.connected()
    await queue.post(to(ANN, "1"), to(ANN, "2"))
    one, two = [await queue.engine.nth(n) for n in (1, 2)]
    queue.engine.acknowledges = True
    queue.engine.fail(one, "server returned error 404")
    queue.engine.refuse(two, Refusal.SKIPPED)
    await queue.counts(dead=1, sent=1)
    assert queue.engine.texts == ["1", "2", "2"]


# --- receipts -----------------------------------------------------------------------------------------


async def test_receipts_move_messages_and_time_their_delivery(queue: Queue) -> None:
    queue.engine.acknowledges = True
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN))
    await queue.state(kept, State.SENT)
    found = await queue.outbox.get(kept.id)
    assert found is not None
    assert found.whatsapp_id is not None

    for kind in (ReceiptKind.RETRY, ReceiptKind.SENDER):
        queue.receipt([found.whatsapp_id], kind)
    queue.receipt([found.whatsapp_id], ReceiptKind.READ, from_me=True)
    queue.receipt([found.whatsapp_id])
    await queue.state(kept, State.DELIVERED)
    queue.receipt([found.whatsapp_id], ReceiptKind.READ)
    await queue.state(kept, State.READ)

    assert queue.value("delivery_seconds_count") == 1
    assert {
        kind: queue.value("receipts_total", kind=kind) for kind in ("retry", "sender", "delivered", "read")
    } == {"retry": 1, "sender": 1, "delivered": 1, "read": 2}


async def test_receipts_that_say_the_same_are_kept_together_and_traced_apart(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.engine.acknowledges = True
    queue.dispatcher.connected()
    kept = await queue.post(*(to(phone) for phone in (ANN, BEN, CLEO)))
    await queue.counts(sent=3)
    sent = [await queue.store.get(message.id) for message in kept]
    ids = [message.whatsapp_id for message in sent if message is not None and message.whatsapp_id]
    asked: list[Sequence[str]] = []
    receive = queue.store.receive

    async def watched(whatsapp_ids: Sequence[str], **rest: Any) -> list[Receipted]:
        asked.append(whatsapp_ids)
        return await receive(whatsapp_ids, **rest)

    monkeypatch.setattr(queue.store, "receive", watched)
    for whatsapp_id in ids:
        queue.receipt([whatsapp_id])
    queue.receipt(ids[:1], ReceiptKind.READ)
    await queue.counts(delivered=2, read=1)
    assert asked == [ids, ids[:1]]
    settled = [span for span in queue.spans.get_finished_spans() if span.name == "settle outbox"]
    assert Counter(dict(span.attributes or {})["messaging.message.id"] for span in settled) == Counter(
        [*(message.id for message in kept), kept[0].id]
    )


async def test_a_receipt_that_overtakes_the_answer_counts_once(queue: Queue) -> None:
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN))
    sending = await queue.engine.nth(1)
    queue.receipt(["3EB01"])
    await queue.settle_down()
    assert queue.engine.acknowledge(sending) == "3EB01"
    await queue.state(kept, State.DELIVERED)
    await until(lambda: queue.value("delivery_seconds_count") == 1, "its delivery to be timed")


# --- trouble with the store ---------------------------------------------------------------------------


class Trouble:
    """Makes one method of the store fail a few times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, store: QueueStore, method: str, times: int) -> None:
        self.left = times
        self._works = getattr(store, method)
        monkeypatch.setattr(store, method, self)

    async def __call__(self, *args: object, **kwargs: object) -> object:
        if self.left:
            self.left -= 1
            raise StoreFull("disk full")
        return await self._works(*args, **kwargs)


@pytest.mark.parametrize(
    "method", ["claim", "complete", "next_due", "receive", "expire", "prune", "orphans", "unknowns"]
)
async def test_a_store_that_fails_for_a_while_loses_nothing(
    build: Queue, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    trouble = Trouble(monkeypatch, build.store, method, times=4)
    build.engine.acknowledges = True
    build.dispatcher.connected()
    running = asyncio.create_task(build.dispatcher.run())
    later = build.clock.now() + 30 * 86_400
    *kept, _ = await keep(
        build.store, to(ANN, "1"), to(ANN, "2"), to(BEN, not_before=later), now=build.clock.now()
    )
    build.dispatcher.wake()
    await build.time_passes_until(lambda: build.store.counts()[State.SENT] == 2, "both are sent")
    assert build.engine.texts == ["1", "2"]
    build.receipt(list(build.engine.secrets.values()))
    await build.time_passes_until(lambda: build.store.counts()[State.DELIVERED] == 2, "both arrive")
    await build.time_passes_until(lambda: not trouble.left, f"{method} is asked until it works")
    for message in kept:
        found = await build.store.get(message.id)
        assert found is not None
        assert found.attempts == 1
    await build.dispatcher.stop()
    await running


# --- stop, and signs of life --------------------------------------------------------------------------


async def test_a_stop_claims_no_more_and_waits_for_what_is_in_flight(build: Queue) -> None:
    build.dispatcher.connected()
    running = asyncio.create_task(build.dispatcher.run())
    await build.post(*(to(ANN, str(i)) for i in range(AT_HAND + 3)))
    sends = [await build.engine.nth(n + 1) for n in range(AT_HAND)]
    stopping = asyncio.create_task(build.dispatcher.stop())
    await build.settle_down()
    assert not stopping.done()

    for sending in sends:
        build.engine.acknowledge(sending)
    await stopping
    await running
    assert build.store.counts()[State.SENT] == AT_HAND
    assert build.store.counts()[State.QUEUED] == 3
    assert len(build.engine.sends) == AT_HAND


async def test_a_stop_before_the_run_returns_at_once(build: Queue) -> None:
    await build.dispatcher.stop()


async def test_the_heartbeat_goes_on_whatever_the_store_does(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = asyncio.get_running_loop().create_future()

    async def hang(**_: object) -> object:
        return await never

    monkeypatch.setattr(queue.store, "claim", hang)
    queue.dispatcher.connected()
    await queue.pass_time(30)
    assert queue.dispatcher.heartbeat_at >= queue.clock.monotonic() - 1
    assert queue.value("dispatcher_heartbeat_timestamp_seconds") >= queue.clock.now() - 1
    never.set_result([])


async def test_expired_messages_are_moved_though_nothing_is_connected(queue: Queue) -> None:
    (kept,) = await queue.post(to(ANN, expires_at=queue.clock.now() + 5))
    await queue.pass_time(7)
    await queue.state(kept, State.EXPIRED)
    assert queue.value("terminal_total", state="expired") == 1


# --- what is seen -------------------------------------------------------------------------------------


async def test_a_messages_way_is_traced_and_linked_without_naming_anybody(queue: Queue) -> None:
    queue.engine.acknowledges = True
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN, "a private word"))
    await queue.state(kept, State.SENT)
    queue.receipt([queue.engine.secrets[kept.secret]])
    await queue.state(kept, State.DELIVERED)
    await until(lambda: len(queue.spans.get_finished_spans()) == 4, "four spans")

    spans = {span.name: span for span in queue.spans.get_finished_spans()}
    assert set(spans) == {"publish outbox", "process outbox", "send direct", "settle outbox"}
    publish, process = spans["publish outbox"], spans["process outbox"]
    send, settle = spans["send direct"], spans["settle outbox"]
    assert process.parent is None
    assert send.parent == process.context
    for span in (process, settle):
        (link,) = span.links
        assert publish.context is not None
        assert link.context.span_id == publish.context.span_id
    sending = queue.engine.sends[0]
    assert send.context is not None
    assert sending.traceparent is not None
    assert f"{send.context.span_id:016x}" in sending.traceparent
    for span in spans.values():
        assert span.attributes is not None
        assert span.attributes["messaging.system"] == "whatsapp"
        assert ANN not in span.to_json()
        assert "private" not in span.to_json()


async def test_each_message_is_processed_in_a_trace_of_its_own(queue: Queue) -> None:
    queue.engine.acknowledges = True
    queue.dispatcher.connected()
    kept = await queue.post(*(to(ANN, str(i)) for i in range(20)))
    await queue.counts(sent=20)
    spans = [span for span in queue.spans.get_finished_spans() if span.name == "process outbox"]
    assert {span.attributes and span.attributes["messaging.message.id"] for span in spans} == {
        message.id for message in kept
    }
    assert all(span.parent is None for span in spans)
    assert len({span.context and span.context.trace_id for span in spans}) == len(spans)


async def test_a_failed_send_says_so_in_its_span(queue: Queue) -> None:
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(f"{ANN}", "x"))
    queue.engine.fail(await queue.engine.nth(1), "server returned error 463")
    await queue.state(kept, State.QUEUED)
    await until(
        lambda: any(s.name == "process outbox" for s in queue.spans.get_finished_spans()), "its span to end"
    )
    for span in queue.spans.get_finished_spans():
        if span.name in {"process outbox", "send direct"}:
            assert span.attributes is not None
            assert span.attributes["error.type"] == "reachout_timelocked"
            assert not span.status.is_ok
    found = await queue.outbox.get(kept.id)
    assert found is not None
    assert found.last_result is SendResult.RATE_LIMITED
    assert found.due_at >= queue.clock.now() + 86_400

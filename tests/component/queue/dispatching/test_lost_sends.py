"""Sends that nobody answered: looked up, waited for, and resolved by the message's own rule."""

import asyncio

import pytest

from service.engine.protocol import Refusal
from service.errors import EngineGone, EngineTimeout, StoreUnavailable
from service.queue.dispatcher import AT_HAND
from service.queue.model import OnUnknown, State
from service.queue.settlement import ENGINE_END_S
from service.queue.unknowns import worker_name
from tests.component.queue.dispatching.harness import UNKNOWN_WAIT_S, Queue
from tests.component.queue.dispatching.pacer import ScriptedPacer
from tests.component.queue.support import claimed, keep, to, until
from tests.people import ANN, BEN, CLEO
from tests.unit.queue.messages import text_of


async def test_a_send_lost_before_it_was_begun_is_sent_again_and_burns_nothing(queue: Queue) -> None:
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN, max_attempts=1))
    queue.engine.lose(await queue.engine.nth(1), EngineGone("killed"))
    await queue.state(kept, State.QUEUED)
    assert queue.value("rescued_total", outcome="released") == 1

    queue.engine.acknowledges = True
    await queue.pass_time(1)
    await queue.state(kept, State.SENT)


async def test_a_send_lost_on_its_way_waits_for_its_receipt(queue: Queue) -> None:
    queue.dispatcher.connected()
    (kept, behind) = await queue.post(to(ANN, "1"), to(ANN, "2"))
    one, two = [await queue.engine.nth(n) for n in (1, 2)]
    queue.engine.lose(one, EngineGone("killed"), wrote="3EB0")
    queue.engine.lose(two, EngineGone("killed"))
    await queue.state(kept, State.UNKNOWN)
    await queue.state(behind, State.QUEUED)
    await queue.pass_time(5)
    assert len(queue.engine.sends) == 2, "the chat stands still"

    queue.receipt(["3EB0"])
    await queue.state(kept, State.DELIVERED)
    assert (await queue.engine.nth(3)).text == "2"
    assert queue.value("unknown_resolved_total", resolution="receipt") == 1
    assert queue.value("rescued_total", outcome="unknown") == 1


async def test_a_send_that_did_not_return_is_looked_up_only_when_its_engine_is_gone(queue: Queue) -> None:
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN))
    sending = await queue.engine.nth(1)
    queue.engine.lose(sending, EngineTimeout("90 s"))
    await queue.settle_down()
    await queue.pass_time(ENGINE_END_S - 1)
    assert queue.engine.lookups == 0
    queue.engine.secrets[sending.secret] = "3EB0"  # it got that far before it was killed
    await queue.pass_time(2)
    await queue.state(kept, State.UNKNOWN)


async def test_while_a_lost_send_is_looked_up_those_behind_it_wait_without_a_frenzy(queue: Queue) -> None:
    queue.dispatcher.connected()
    await queue.post(*(to(ANN, str(i)) for i in range(30)))
    sends = [await queue.engine.nth(n + 1) for n in range(AT_HAND)]
    queue.engine.lose(sends[0], EngineTimeout("90 s"))
    for sending in sends[1:]:
        queue.engine.refuse(sending, Refusal.SKIPPED)
    await queue.pass_time(ENGINE_END_S - 1)
    assert len(queue.engine.sends) == AT_HAND
    assert queue.store.counts()[State.SENDING] <= AT_HAND + 1

    queue.engine.acknowledges = True
    await queue.pass_time(5)
    await queue.counts(sent=30)
    assert queue.engine.texts[AT_HAND:] == [str(i) for i in range(30)]


@pytest.mark.parametrize(
    ("on_unknown", "state", "resolution"),
    [(OnUnknown.RESEND, State.SENDING, "resent"), (OnUnknown.HOLD, State.HELD, "held")],
)
async def test_without_a_receipt_in_time_the_messages_own_rule_decides(
    queue: Queue, on_unknown: OnUnknown, state: State, resolution: str
) -> None:
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN, on_unknown=on_unknown))
    queue.engine.fail(await queue.engine.nth(1), "timed out waiting for message send response")
    queue.engine.secrets[queue.engine.sends[0].secret] = "3EB0"
    await queue.state(kept, State.UNKNOWN)

    await queue.pass_time(UNKNOWN_WAIT_S - 2)
    found = await queue.outbox.get(kept.id)
    assert found is not None
    assert found.state is State.UNKNOWN
    await queue.pass_time(4)
    await queue.state(kept, state)
    assert queue.value("unknown_resolved_total", resolution=resolution) == 1


async def test_the_wait_for_a_receipt_counts_from_the_last_connect(queue: Queue) -> None:
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN, on_unknown=OnUnknown.HOLD))
    queue.engine.lose(await queue.engine.nth(1), EngineGone("killed"), wrote="3EB0")
    await queue.state(kept, State.UNKNOWN)
    queue.dispatcher.disconnected()
    await queue.pass_time(2 * UNKNOWN_WAIT_S, step_s=10)
    queue.dispatcher.connected()
    await queue.pass_time(UNKNOWN_WAIT_S - 2, step_s=2)
    await queue.state(kept, State.UNKNOWN)
    await queue.pass_time(4)
    await queue.state(kept, State.HELD)


async def test_an_unreadable_session_makes_the_outcome_unknown_not_resent(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: bytes) -> str | None:
        raise StoreUnavailable("session: disk I/O error")

    monkeypatch.setattr(queue.dispatcher._unknowns, "_find_message_id", broken)
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN))
    queue.engine.lose(await queue.engine.nth(1), EngineGone("killed"))
    await queue.pass_time(10, step_s=0.5)
    await queue.state(kept, State.UNKNOWN)


async def test_what_a_killed_process_left_is_settled_before_anything_is_sent(build: Queue) -> None:
    never_left, may_have_left, waiting = await keep(
        build.store, to(ANN, "1"), to(BEN, "2"), to(CLEO, "3"), now=build.clock.now()
    )
    for _ in range(2):
        await claimed(build.store, now=build.clock.now(), worker=worker_name("s1", "7"))
    build.engine.secrets[may_have_left.secret] = "3EB0"

    build.dispatcher.connected()
    build.engine.acknowledges = True
    running = asyncio.create_task(build.dispatcher.run())
    await build.counts(sent=2, unknown=1)
    build.receipt(["3EB0"])
    await build.counts(delivered=1)
    assert sorted(build.engine.texts) == [text_of(never_left), text_of(waiting)]
    assert build.value("rescued_total", outcome="released") == 1
    assert build.value("rescued_total", outcome="unknown") == 1
    await build.dispatcher.stop()
    await running


async def test_an_unknown_outcome_of_an_earlier_process_is_resolved_too(
    build: Queue, pacer: ScriptedPacer
) -> None:
    (kept,) = await keep(build.store, to(ANN, on_unknown=OnUnknown.HOLD), now=build.clock.now())
    claim = await claimed(build.store, now=build.clock.now())
    await build.store.mark_unknown(claim, whatsapp_id="3EB0", error="e", now=build.clock.now())

    running = asyncio.create_task(build.dispatcher.run())
    build.dispatcher.connected()
    await until(lambda: pacer.opened == 1, "it looks at what others left")
    await build.settle_down()
    await build.pass_time(UNKNOWN_WAIT_S + 2)
    await build.state(kept, State.HELD)
    await build.dispatcher.stop()
    await running

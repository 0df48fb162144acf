"""What other processes left in `sending`: settled when the account is ours, and never by guessing."""

import asyncio

import pytest

from service.errors import DataDirUnusable, EngineGone
from service.queue.model import Claim, Message, OnUnknown, State
from service.queue.unknowns import session_of, worker_name
from tests.component.queue.dispatching.harness import UNKNOWN_WAIT_S, Queue
from tests.component.queue.dispatching.pacer import ScriptedPacer
from tests.component.queue.support import claimed, keep, to, until
from tests.people import ANN, BEN


async def left_behind(queue: Queue, message: Message, *, session: str) -> Claim:
    """A claim of a process that sends with that session."""
    claim = await claimed(queue.store, now=queue.clock.now(), worker=worker_name(session, "1-dead"))
    assert claim.message.id == message.id
    return claim


def test_a_workers_name_tells_the_session_it_sends_with() -> None:
    assert session_of(worker_name("s1", "7-ab")) == "s1"
    assert session_of("7-ab") is None, "of an earlier version"
    assert session_of(None) is None


async def test_while_the_account_is_not_ours_another_process_may_be_sending(queue: Queue) -> None:
    (kept,) = await keep(queue.store, to(ANN), now=queue.clock.now())
    await left_behind(queue, kept, session="s1")
    await queue.pass_time(300, step_s=10)
    assert queue.store.counts()[State.SENDING] == 1
    assert queue.engine.lookups == 0

    queue.dispatcher.connected()
    sending = await queue.engine.nth(1)
    assert sending.secret == kept.secret, "it never left, so the same attempt is made"
    assert queue.value("rescued_total", outcome="released") == 1


@pytest.mark.parametrize("worker", [worker_name("s0", "1-dead"), "1-dead"])
async def test_what_was_sent_with_another_session_is_unknown_though_no_trace_of_it_is_found(
    queue: Queue, worker: str
) -> None:
    (kept,) = await keep(queue.store, to(ANN, on_unknown=OnUnknown.HOLD), now=queue.clock.now())
    await claimed(queue.store, now=queue.clock.now(), worker=worker)
    queue.dispatcher.connected()
    await queue.state(kept, State.UNKNOWN)
    assert queue.value("rescued_total", outcome="another_session") == 1
    await queue.pass_time(UNKNOWN_WAIT_S + 2)
    await queue.state(kept, State.HELD)
    assert queue.engine.sends == []


async def test_a_trace_of_it_is_believed_whatever_the_session_is_called(queue: Queue) -> None:
    (kept,) = await keep(queue.store, to(ANN), now=queue.clock.now())
    await left_behind(queue, kept, session="s0")
    queue.engine.secrets[kept.secret] = "3EB0"
    queue.dispatcher.connected()
    await queue.state(kept, State.UNKNOWN)
    queue.receipt(["3EB0"])
    await queue.state(kept, State.DELIVERED)


async def test_a_send_whose_session_was_replaced_meanwhile_is_unknown(queue: Queue) -> None:
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN))
    sending = await queue.engine.nth(1)
    queue.dispatcher.disconnected()
    queue.session.identity = "s2"  # restored from a backup
    queue.engine.lose(sending, EngineGone("stopped"))
    await queue.state(kept, State.UNKNOWN)
    assert queue.value("rescued_total", outcome="another_session") == 1


async def test_a_lost_connection_is_no_reason_to_look_for_orphans_again_and_a_lost_lease_is(
    queue: Queue, pacer: ScriptedPacer
) -> None:
    queue.dispatcher.connected()
    await until(lambda: pacer.opened == 1, "the pacer is opened")
    await queue.settle_down()
    queue.dispatcher.disconnected()
    queue.dispatcher.connected()
    await queue.settle_down()
    assert pacer.opened == 1

    queue.dispatcher.disowned()
    waits, unknown = await keep(queue.store, to(ANN), to(BEN), now=queue.clock.now())
    await left_behind(queue, waits, session="s1")
    claim = await left_behind(queue, unknown, session="s1")
    await queue.store.mark_unknown(claim, whatsapp_id="3EB0", error="e", now=queue.clock.now())
    queue.dispatcher.connected()
    assert (await queue.engine.nth(1)).secret == waits.secret
    assert pacer.opened == 2, "others may have sent meanwhile"
    await queue.pass_time(UNKNOWN_WAIT_S + 2)
    assert (await queue.engine.nth(2)).chat == unknown.chat


async def test_nothing_is_claimed_before_orphans_are_settled_even_when_an_old_send_ends_meanwhile(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.dispatcher.connected()
    await queue.post(to(ANN, "1"))
    sending = await queue.engine.nth(1)
    queue.dispatcher.disowned()
    (left,) = await keep(queue.store, to(BEN, "left"), now=queue.clock.now())
    await left_behind(queue, left, session="s1")

    asked = asyncio.Event()
    answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    async def slow(_: bytes) -> str | None:
        asked.set()
        return await answer

    monkeypatch.setattr(queue.dispatcher._unknowns, "_find_message_id", slow)
    await queue.post(to(ANN, "2"))
    queue.dispatcher.connected()
    await asked.wait()
    queue.engine.acknowledge(sending)
    await queue.counts(sent=1)
    await queue.settle_down()
    assert queue.engine.texts == ["1"]

    answer.set_result(None)
    await queue.engine.nth(3)
    assert sorted(queue.engine.texts) == ["1", "2", "left"]


async def test_our_own_sends_under_way_are_no_orphans(queue: Queue) -> None:
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN))
    sending = await queue.engine.nth(1)
    queue.dispatcher.disowned()
    queue.session.identity = "s2"
    queue.dispatcher.connected()
    await queue.settle_down()
    found = await queue.store.get(kept.id)
    assert found is not None
    assert found.state is State.SENDING
    queue.engine.acknowledge(sending)
    await queue.state(kept, State.SENT)
    assert queue.value("claims_lost_total") == 0


async def test_without_a_name_for_the_session_nothing_is_sent_until_there_is_one(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> str:
        raise DataDirUnusable("session.id: cannot be kept")

    works = queue.dispatcher._session_identity
    monkeypatch.setattr(queue.dispatcher, "_session_identity", broken)
    queue.dispatcher.connected()
    await queue.post(to(ANN))
    await queue.pass_time(20)
    assert queue.engine.sends == []

    monkeypatch.setattr(queue.dispatcher, "_session_identity", works)
    await queue.time_passes_until(lambda: len(queue.engine.sends) == 1, "it is sent")

"""The objective for sending: each message that WhatsApp has is counted once, by how late it had it."""

from math import inf

import pytest

from service.engine.protocol import ReceiptKind
from service.errors import EngineGone
from service.queue.model import State
from tests.component.queue.dispatching.harness import Queue
from tests.component.queue.dispatching.pacer import ScriptedPacer
from tests.component.queue.support import to, until
from tests.people import ANN, BEN


def in_time(queue: Queue, within_s: float) -> float:
    """How many messages WhatsApp had within that time."""
    return queue.value("sent_seconds_bucket", le="+Inf" if within_s == inf else str(within_s))


async def test_what_an_outage_delayed_is_late_and_what_came_after_it_is_not(queue: Queue) -> None:
    await queue.post(to(ANN, "during"))
    await queue.pass_time(400, step_s=50)
    queue.engine.acknowledges = True
    queue.dispatcher.connected()
    await queue.counts(sent=1)
    (prompt,) = await queue.post(to(BEN, "after"))
    await queue.state(prompt, State.SENT)
    await queue.counts(sent=2)
    assert (in_time(queue, 300.0), in_time(queue, inf)) == (1, 2)


async def test_what_pacing_put_off_counts_from_when_it_might_go(queue: Queue, pacer: ScriptedPacer) -> None:
    queue.engine.acknowledges = True
    (kept,) = await queue.post(to(ANN))
    pacer.until[kept.chat] = queue.clock.now() + 400
    queue.dispatcher.connected()
    await until(lambda: queue.value("postponed_total", reason="pacing") == 1, "it is put off")
    del pacer.until[kept.chat]
    await queue.time_passes_until(lambda: queue.store.counts()[State.SENT] == 1, "it goes out")
    assert in_time(queue, 60.0) == 1


async def test_a_second_attempt_counts_from_the_beginning(queue: Queue) -> None:
    queue.dispatcher.connected()
    await queue.post(to(ANN))
    queue.engine.fail(await queue.engine.nth(1), "server returned error 429")  # five minutes, at least
    queue.engine.acknowledges = True
    await queue.time_passes_until(lambda: queue.store.counts()[State.SENT] == 1, "it goes out")
    assert (in_time(queue, 60.0), in_time(queue, 300.0), in_time(queue, inf)) == (0, 0, 1)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_message_whose_answer_was_lost_is_counted_by_its_receipt_and_once(
    queue: Queue, times: int
) -> None:
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN))
    queue.engine.lose(await queue.engine.nth(1), EngineGone("killed"), wrote="3EB0")
    await queue.state(kept, State.UNKNOWN)
    assert in_time(queue, inf) == 0
    for kind in (ReceiptKind.DELIVERED, ReceiptKind.READ)[:times]:
        queue.receipt(["3EB0"], kind)
    await queue.state(kept, (State.DELIVERED, State.READ)[times - 1])
    await queue.dispatcher._receipts.drained()
    assert in_time(queue, inf) == 1


async def test_what_a_recipient_asked_for_again_is_not_counted_again(queue: Queue) -> None:
    queue.engine.acknowledges = True
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN))
    await queue.state(kept, State.SENT)
    queue.receipt([queue.engine.secrets[kept.secret]], ReceiptKind.RETRY)
    await queue.engine.nth(2)
    await queue.state(kept, State.SENT)
    await queue.settle_down()
    assert in_time(queue, inf) == 1


async def test_what_was_never_sent_is_not_counted_here(queue: Queue) -> None:
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN))
    queue.engine.fail(await queue.engine.nth(1), "server returned error 400")
    await queue.state(kept, State.DEAD)
    assert in_time(queue, inf) == 0
    assert queue.value("terminal_total", state="dead") == 1

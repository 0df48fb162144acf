"""Whose turn it is: urgent ones first, nobody never, and what has to wait holds back its own chat alone."""

from typing import Any

from service.engine.protocol import Refusal
from service.queue.dispatcher import AT_HAND, FAIR_EVERY
from service.queue.model import Claim, State
from tests.component.queue.dispatching.harness import Queue
from tests.component.queue.dispatching.pacer import ScriptedPacer
from tests.component.queue.support import to, until
from tests.people import ANN, BEN, CLEO


def person(number: int) -> str:
    return f"1202555{number:04}"


async def test_urgent_messages_go_first(queue: Queue) -> None:
    queue.engine.acknowledges = True
    await queue.post(to(ANN, "news", priority=1), to(BEN, "alarm", priority=9), to(CLEO, "letter"))
    queue.dispatcher.connected()
    await queue.counts(sent=3)
    assert queue.engine.texts == ["alarm", "letter", "news"]


async def test_a_stream_of_urgent_messages_starves_nobody(queue: Queue) -> None:
    waiting = 3
    await queue.post(*(to(person(n), f"low {n}", priority=0) for n in range(waiting)))
    await queue.post(*(to(person(100 + n), "urgent", priority=9) for n in range(200)))
    queue.engine.acknowledges = True
    queue.dispatcher.connected()
    await queue.counts(sent=200 + waiting)
    places = [queue.engine.texts.index(f"low {n}") + 1 for n in range(waiting)]
    assert places == sorted(places)
    for n, place in enumerate(places, start=1):
        assert place <= FAIR_EVERY * n + AT_HAND, f"number {n} of the waiting went out as number {place}"
    urgent = queue.engine.texts[: FAIR_EVERY * waiting].count("urgent")
    assert urgent >= (FAIR_EVERY - 1) * waiting - AT_HAND, "urgent ones go first all the same"


async def test_what_pacing_puts_off_holds_back_only_its_chat_and_is_no_attempt(
    queue: Queue, pacer: ScriptedPacer
) -> None:
    ann = f"{ANN}@s.whatsapp.net"
    pacer.until[ann] = queue.clock.now() + 60
    first, second, other = await queue.post(to(ANN, "1", max_attempts=1), to(ANN, "2"), to(BEN, "other"))
    queue.engine.acknowledges = True
    queue.dispatcher.connected()
    await queue.state(other, State.SENT)
    await queue.counts(queued=2)
    await queue.pass_time(50, step_s=5)
    assert queue.engine.texts == ["other"]
    assert pacer.asked.count(first.id) == 1, "asked again before its time"
    assert second.id not in pacer.asked, "asked before it is its turn"
    assert queue.value("postponed_total", reason="pacing") == 1
    assert queue.attempts(result="not_connected") == 0

    del pacer.until[ann]
    await queue.pass_time(15, step_s=5)
    await queue.counts(sent=3)
    assert queue.engine.texts == ["other", "1", "2"]


async def test_while_the_account_may_not_send_nothing_is_claimed(queue: Queue, pacer: ScriptedPacer) -> None:
    pacer.closed_s = 30.0
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN))
    await until(lambda: pacer.closed_s in queue.clock.sleeps, "it rests")
    await queue.pass_time(29)
    assert pacer.asked == []
    assert await queue.store.get(kept.id) == kept, "it was claimed"

    pacer.closed_s = 0.0
    await queue.pass_time(2)
    await queue.engine.nth(1)


async def test_no_more_are_claimed_at_once_than_the_rate_has_room_for(
    queue: Queue, pacer: ScriptedPacer
) -> None:
    pacer.leaves_room_for = 2
    limits: list[int] = []
    claim = queue.store.claim

    async def watched(*, limit: int, **asked: Any) -> list[Claim]:
        limits.append(limit)
        return await claim(limit=limit, **asked)

    queue.store.claim = watched  # type: ignore[method-assign, assignment]
    await queue.post(*(to(person(n), str(n)) for n in range(5)))
    queue.engine.acknowledges = True
    queue.dispatcher.connected()
    await queue.counts(sent=5)
    assert limits
    assert max(limits) == 2


async def test_a_message_goes_out_at_once_when_the_account_may_send_though_the_clock_was_set(
    queue: Queue,
) -> None:
    queue.dispatcher.connected()
    await queue.post(to(ANN, not_before=queue.clock.now() + 7200))
    await queue.settle_down()
    queue.clock.jump(7200)
    await queue.pass_time(61)
    await queue.engine.nth(1)


async def test_what_pacing_must_know_and_cannot_read_is_asked_again_later(
    queue: Queue, pacer: ScriptedPacer
) -> None:
    pacer.store_is_away = True
    queue.dispatcher.connected()
    (kept,) = await queue.post(to(ANN, max_attempts=1))
    await queue.state(kept, State.QUEUED)
    await queue.time_passes_until(
        lambda: queue.value("postponed_total", reason="store") >= 2, "it is asked twice"
    )
    assert queue.engine.sends == []

    pacer.store_is_away = False
    queue.engine.acknowledges = True
    await queue.time_passes_until(lambda: queue.store.counts()[State.SENT] == 1, "it is sent")


async def test_the_pacer_is_told_what_went_out_and_what_was_refused(
    queue: Queue, pacer: ScriptedPacer
) -> None:
    queue.dispatcher.connected()
    sent, limited, dead, unknown, back = await queue.post(*(to(person(n), str(n)) for n in range(5)))
    sends = [await queue.engine.nth(n) for n in range(1, 6)]
    queue.engine.acknowledge(sends[0])
    queue.engine.fail(sends[1], "server returned error 463")
    queue.engine.fail(sends[2], "server returned error 400")
    queue.engine.secrets[unknown.secret] = "3EB0"
    queue.engine.fail(sends[3], "timed out waiting for message send response")
    queue.engine.refuse(sends[4], Refusal.NOT_CONNECTED)
    await queue.state(unknown, State.UNKNOWN)
    await queue.state(back, State.QUEUED)
    assert sorted(pacer.told) == sorted(
        [
            (sent.id, "sent"),
            (limited.id, "reachout_timelocked"),
            (dead.id, "rejected"),
            (unknown.id, "sent"),
        ]
    )
    for result, reason in (
        ("sent", "acknowledged"),
        ("rate_limited", "reachout_timelocked"),
        ("permanent", "rejected"),
        ("unknown", "no_acknowledgement"),
        ("not_connected", "not_begun"),
    ):
        assert queue.value("attempts_total", result=result, reason=reason) == 1, reason

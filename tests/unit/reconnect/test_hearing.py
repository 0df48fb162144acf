"""A quiet connection is asked whether it hears: when, how often, and what no answer leads to."""

from collections.abc import AsyncIterator

import pytest

from service.engine.content import Text
from service.engine.protocol import (
    Disconnected,
    EventsDropped,
    KeepAliveRestored,
    KeepAliveTimeout,
    OfflineSynced,
    Receipt,
    ReceiptKind,
)
from service.reconnect.reason import Reason
from service.reconnect.status import State
from tests.unit.reconnect.fakes import World

REST_S = 360.0
"""The longest rest between two questions: the world draws that."""

RECEIPT = Receipt(
    message_ids=("3EB0",), receipt=ReceiptKind.READ, chat="c", sender="s", from_me=False, timestamp=0.0
)


@pytest.fixture
async def quiet() -> AsyncIterator[World]:
    """Connected just now; nothing comes by itself."""
    async with World().lives() as world:
        await world.connects()
        yield world


def outcomes(world: World) -> dict[str, int]:
    """How questions ended, those that any did."""
    name = "whatsapp_connection_questions_total"
    ended = ("answered", "refused", "unanswered", "abandoned")
    return {how: int(count) for how in ended if (count := world.metric(name, outcome=how))}


async def test_every_outcome_is_counted_from_the_start(quiet: World) -> None:
    assert outcomes(quiet) == {}


async def test_a_minute_of_silence_is_asked_about(quiet: World) -> None:
    await quiet.passes(59)
    assert quiet.questions == []
    await quiet.passes(1)
    assert len(quiet.questions) == 1
    assert outcomes(quiet) == {"answered": 1}


async def test_an_answer_is_something_that_came_from_whatsapp(quiet: World) -> None:
    await quiet.passes(60)
    assert quiet.metric("whatsapp_last_stanza_timestamp_seconds") == quiet.clock.now()


async def test_an_account_that_nobody_writes_to_is_asked_every_few_minutes_and_stays_connected(
    quiet: World,
) -> None:
    await quiet.passes(86_400)
    assert len(quiet.questions) == (86_400 - 60) // REST_S + 1
    assert len(quiet.engines) == 1
    assert quiet.state() is State.CONNECTED


async def test_while_something_comes_nothing_is_asked(quiet: World) -> None:
    for _ in range(60):
        await quiet.passes(59)
        await quiet.happens(RECEIPT)
    assert quiet.questions == []


async def test_what_the_engine_makes_by_itself_proves_nothing(quiet: World) -> None:
    await quiet.passes(59)
    await quiet.happens(EventsDropped(count=1))
    await quiet.passes(1)
    assert len(quiet.questions) == 1


async def test_a_send_that_whatsapp_took_is_as_good_as_an_answer(quiet: World) -> None:
    await quiet.passes(59)
    await quiet.supervisor.send(
        token=1,
        chat="c",
        content=Text(text="t"),
        file=None,
        secret=b"",
        behind=None,
        traceparent=None,
    )
    await quiet.passes(59)
    assert quiet.questions == []


async def test_a_refusal_proves_hearing(quiet: World) -> None:
    quiet.refuses_questions = True
    await quiet.passes(3600)
    assert outcomes(quiet) == {"refused": len(quiet.questions)}
    assert len(quiet.engines) == 1


async def test_two_questions_without_an_answer_end_in_a_new_engine(quiet: World) -> None:
    quiet.deaf = True
    quiet.spans.clear()
    await quiet.passes(90)
    assert (len(quiet.questions), outcomes(quiet)) == (2, {"unanswered": 1})
    assert quiet.state() is State.CONNECTED
    await quiet.passes(29)
    assert len(quiet.engines) == 1
    await quiet.passes(1)
    assert outcomes(quiet) == {"unanswered": 2}
    assert [status.reason for status in quiet.statuses].count(Reason.DEAF) == 1
    assert quiet.metric("whatsapp_disconnects_total", reason="deaf") == 1
    assert quiet.metric("whatsapp_engine_recycles_total", reason="deaf") == 1
    assert (len(quiet.engines), quiet.engines[0].ended_by) == (2, "kill")
    asked = [span for span in quiet.spans.get_finished_spans() if span.name == "question"]
    assert [dict(span.attributes or {})["whatsapp.outcome"] for span in asked] == ["unanswered"] * 2
    await quiet.connects()
    assert quiet.state() is State.CONNECTED


async def test_a_question_that_was_answered_the_second_time_is_forgotten(quiet: World) -> None:
    quiet.deaf = True
    await quiet.passes(60)
    quiet.deaf = False
    await quiet.passes(30)
    assert outcomes(quiet) == {"unanswered": 1, "answered": 1}
    await quiet.passes(3600)
    assert len(quiet.engines) == 1


@pytest.mark.parametrize("after_s", [1, 31, 59])
async def test_anything_that_comes_meanwhile_proves_hearing(quiet: World, after_s: int) -> None:
    quiet.deaf = True
    await quiet.passes(60 + after_s)
    await quiet.happens(OfflineSynced(count=0))
    await quiet.passes(60 - after_s)
    assert len(quiet.engines) == 1
    assert "abandoned" not in outcomes(quiet)


async def test_lost_pings_are_a_dead_line_and_no_deaf_one(quiet: World) -> None:
    quiet.deaf = True
    await quiet.passes(60)
    await quiet.happens(KeepAliveTimeout(failures=1, last_success=0.0))
    await quiet.passes(300)
    assert outcomes(quiet) == {"abandoned": 1}
    assert len(quiet.engines) == 1
    await quiet.happens(KeepAliveRestored())
    await quiet.passes(60)
    assert len(quiet.questions) == 2, "a line that answers pings again is asked again"


async def test_a_lost_connection_is_not_asked(quiet: World) -> None:
    quiet.deaf = True
    await quiet.passes(60)
    await quiet.happens(Disconnected())
    assert outcomes(quiet) == {"abandoned": 1}
    await quiet.connects()
    await quiet.passes(60)
    assert len(quiet.questions) == 1, "and not much more often for being lost"


async def test_a_server_that_ignores_the_question_for_ever_costs_a_login_an_hour(quiet: World) -> None:
    quiet.deaf = True
    logins: list[int] = []
    for _ in range(24):
        before = len(quiet.engines)
        await _an_hour(quiet)
        logins.append(len(quiet.engines) - before)
    assert logins[0] <= 4
    assert max(logins[4:]) == 1


async def test_an_answer_forgets_the_deafness_before_it(quiet: World) -> None:
    quiet.deaf = True
    for _ in range(3):
        await _an_hour(quiet)
    quiet.deaf = False
    for _ in range(2):
        await _an_hour(quiet)
    asked = len(quiet.questions)
    await quiet.passes(3600)
    assert len(quiet.questions) - asked == 3600 // REST_S


async def _an_hour(world: World) -> None:
    """Every new engine connects, and nothing else comes."""
    for _ in range(60):
        await world.passes(60)
        if world.state() is not State.CONNECTED:
            await world.connects()

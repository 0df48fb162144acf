"""People who never wrote to us: so many in any 24 hours, and not right after each other."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config import DAY_S, Seconds
from service.errors import StoreUnavailable
from service.queue.pace.memory import EXACT_S, REMEMBERED
from service.queue.pace.metrics import Reason
from service.queue.pace.pacer import ASK_EVERY_S, RECHECK_S
from service.queue.pace.strangers import RESOLUTION_S
from tests.unit.queue.pacing import ANYTHING, GROUP, Account, a_message, stranger

ANN, BEN, CLEO = stranger(101), stranger(102), stranger(103)
ANN_LID = "101000000000001@lid"
TWO = replace(ANYTHING, new_chats_per_day=2)


async def test_so_many_strangers_are_met_and_the_next_one_waits() -> None:
    account = Account(TWO)
    assert [await account.try_to_send(chat) for chat in (ANN, BEN)] == [None, None]
    assert await account.try_to_send(CLEO) is not None
    assert account.postponed(Reason.STRANGERS_BUDGET) == 1
    assert account.metric("strangers_left") == 0


async def test_people_are_told_of_a_budget_that_is_used_up_only_while_somebody_waits_for_it() -> None:
    account = Account(TWO)
    for chat in (ANN, BEN):
        assert await account.try_to_send(chat) is None
    assert account.pacer.sentence() is None
    assert await account.try_to_send(CLEO) is not None
    assert account.pacer.sentence() == (
        "As many new people were written to as NEW_CHATS_PER_DAY allows: the next one waits until "
        "2023-11-15 22:14 UTC."
    )
    account.clock.advance(3600)  # nobody asks any more: it was cancelled
    assert account.pacer.sentence() is None


async def test_whoever_was_met_may_be_written_to_again() -> None:
    account = Account(TWO)
    for chat in (ANN, BEN, ANN, BEN, ANN):
        assert await account.try_to_send(chat) is None
    account.clock.advance(30 * DAY_S)
    assert await account.try_to_send(ANN) is None
    assert account.metric("strangers_left") == 2, "neither is new after a month"


async def test_a_place_is_free_24_hours_after_it_was_taken() -> None:
    account = Account(TWO)
    assert await account.try_to_send(ANN) is None
    account.clock.advance(3600)
    assert await account.try_to_send(BEN) is None
    account.clock.advance(DAY_S - 3600 - 10)
    assert await account.try_to_send(CLEO) == pytest.approx(10, abs=0.01)
    account.clock.advance(10)
    assert await account.try_to_send(CLEO) is None
    assert await account.try_to_send(stranger(104)) is not None


async def test_who_wrote_to_us_is_no_stranger_by_whichever_name() -> None:
    account = Account(replace(ANYTHING, new_chats_per_day=0))
    assert await account.try_to_send(ANN) is not None
    await account.pacer.heard(ANN_LID, (ANN,), account.clock.now())
    assert await account.try_to_send(ANN) is None
    assert await account.try_to_send(ANN_LID) is None


async def test_who_writes_to_a_group_has_not_written_to_us() -> None:
    account = Account(replace(ANYTHING, new_chats_per_day=0))
    await account.pacer.heard(GROUP, (ANN, ANN_LID), account.clock.now())
    assert await account.try_to_send(ANN) is not None
    assert account.notebook.writes == [GROUP]


async def test_a_group_is_never_a_stranger() -> None:
    account = Account(replace(ANYTHING, new_chats_per_day=0))
    assert await account.try_to_send(GROUP) is None


async def test_who_answers_gives_the_place_back() -> None:
    account = Account(TWO)
    assert [await account.try_to_send(chat) for chat in (ANN, BEN)] == [None, None]
    await account.pacer.heard(ANN, (), account.clock.now())
    assert await account.try_to_send(CLEO) is None


async def test_between_two_strangers_is_a_pause_and_known_chats_go_on_meanwhile() -> None:
    account = Account(replace(ANYTHING, new_chat_gap=Seconds(45, 120)))
    await account.pacer.heard(CLEO, (), account.clock.now())
    account.clock.advance(200)
    assert await account.try_to_send(ANN) is None
    wait_s = await account.try_to_send(BEN)
    assert wait_s is not None
    assert 45 <= wait_s <= 120
    assert account.postponed(Reason.STRANGERS_GAP) == 1
    assert await account.try_to_send(CLEO) is None
    account.clock.advance(wait_s + 0.001)
    assert await account.try_to_send(BEN) is None


async def test_a_message_that_never_left_does_not_take_a_second_place() -> None:
    account = Account(TWO)
    one = a_message(ANN)
    for _ in range(4):
        assert await account.pacer.not_before(one) is None
    assert account.metric("strangers_left") == 1


async def test_one_that_nobody_answered_for_counts_all_the_same() -> None:
    account = Account(TWO)
    for chat in (ANN, BEN):  # refused or unknown: `complete` never notes them
        one = a_message(chat)
        assert await account.pacer.not_before(one) is None
        account.pacer.sent(one)
    assert await account.try_to_send(CLEO) is not None


async def test_what_waits_is_asked_about_in_turn_and_often_enough_that_an_answer_is_not_kept_waiting() -> (
    None
):
    account = Account(replace(ANYTHING, new_chats_per_day=0))
    waits = [await account.try_to_send(stranger(number)) for number in range(100)]
    assert waits == pytest.approx([RECHECK_S + number * account.pacer._ask_every_s for number in range(100)])
    assert account.pacer._ask_every_s <= ASK_EVERY_S


@given(
    per_day=st.integers(0, 6),
    steps=st.lists(
        st.tuples(st.floats(0, 9 * 3600), st.integers(0, 30), st.booleans()), min_size=1, max_size=60
    ),
    seed=st.integers(0, 100),
)
def test_in_no_24_hours_are_there_more_strangers_whatever_restarts(
    per_day: int, steps: list[tuple[float, int, bool]], seed: int
) -> None:
    async def play() -> None:
        gap = Seconds(45, 120)
        account = Account(replace(ANYTHING, new_chats_per_day=per_day, new_chat_gap=gap), seed=seed)
        await account.pacer.open()
        met: dict[str, float] = {}
        for step_s, number, restarts in steps:
            account.clock.advance(step_s)
            if restarts:
                account.begin()
                await account.pacer.open()
            chat = stranger(number)
            if await account.try_to_send(chat) is None and chat not in met:
                at = account.clock.now()
                assert all(at - other >= gap.least - 1e-3 for other in met.values())
                met[chat] = at
        times = sorted(met.values())
        for at in times:
            assert sum(at - DAY_S < other <= at for other in times) <= per_day

    asyncio.run(play())


async def test_after_a_restart_a_place_is_free_at_most_minutes_late() -> None:
    account = Account(TWO)
    for chat in (ANN, BEN):
        assert await account.try_to_send(chat) is None
        account.clock.advance(5000)
    account.begin()
    await account.pacer.open()
    assert account.metric("strangers_left") == 0
    account.clock.advance(DAY_S - 10_000 - 60 + RESOLUTION_S)
    assert account.metric("strangers_left") == 1


async def test_a_lease_held_anew_trusts_nothing_that_was_read_before() -> None:
    account = Account(TWO)
    await account.pacer.open()
    for chat in (ANN, BEN):  # another process sends, and this one takes over
        account.notebook.met(chat, account.clock.now())
    await account.pacer.open()
    assert await account.try_to_send(CLEO) is not None
    assert await account.try_to_send(ANN) is None


async def test_a_clock_set_back_by_years_does_not_close_the_door_for_years() -> None:
    account = Account(TWO)
    assert [await account.try_to_send(chat) for chat in (ANN, BEN)] == [None, None]
    account.clock.jump(-400 * DAY_S)
    assert await account.try_to_send(CLEO) is not None
    account.clock.advance(DAY_S + 1)
    assert await account.try_to_send(CLEO) is None
    account.begin()
    await account.pacer.open()
    assert account.metric("strangers_left") == 1, "times to come are no meetings of the last 24 hours"


async def test_a_chat_that_is_known_costs_no_question_and_a_lively_one_few_commits() -> None:
    account = Account()
    for _ in range(10):
        await account.pacer.heard(ANN, (), account.clock.now())
        assert await account.try_to_send(ANN) is None
        assert await account.try_to_send(GROUP) is None
        account.clock.advance(EXACT_S / 10 - 1)
    assert (account.notebook.questions, account.notebook.writes) == (0, [ANN])
    account.clock.advance(EXACT_S)
    await account.pacer.heard(ANN, (), account.clock.now())
    assert account.notebook.writes == [ANN, ANN]


async def test_what_is_remembered_of_chats_is_bounded() -> None:
    account = Account()
    for number in range(REMEMBERED + 100):
        await account.pacer.heard(stranger(number), (), account.clock.now())
    assert len(account.pacer._memory._known) == REMEMBERED
    assert len(account.pacer._memory._written) == REMEMBERED


async def test_while_the_store_is_away_nothing_is_decided_and_what_is_heard_is_not_lost() -> None:
    account = Account(replace(ANYTHING, new_chats_per_day=0))
    account.notebook.away = True
    await account.pacer.heard(ANN, (ANN_LID,), account.clock.now())
    with pytest.raises(StoreUnavailable):
        await account.try_to_send(BEN)
    account.notebook.away = False
    assert await account.try_to_send(ANN) is None
    assert account.notebook.writes == [ANN, ANN_LID]

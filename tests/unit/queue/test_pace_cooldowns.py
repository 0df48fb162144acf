"""What stands still after WhatsApp refused, for how long, and what goes on."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from service.config import DAY_S
from service.queue import outcome
from service.queue.model import Cooldown, Cooling, SendResult
from service.queue.pace.cooldowns import COURSES, MINUTE, REPLY_WITHIN_S, course_of
from service.queue.pace.metrics import Reason
from tests.unit.queue.pacing import ANYTHING, GROUP, Account, a_message, stranger

ANN, BEN, CLEO = stranger(101), stranger(102), stranger(103)
TIMELOCK = outcome.rule_for("server returned error 463").name
OVERLIMIT = outcome.rule_for("server returned error 429").name
LOOKUPS = outcome.rule_for("failed to get user info: info query returned status 429: rate-overlimit").name


async def refused(account: Account, rule: str, *, to: str = ANN) -> None:
    """Something that was on its way is refused."""
    await account.pacer.refused(a_message(to), rule)


async def known_to(account: Account, *chats: str) -> None:
    """These have written to us, but not lately."""
    for chat in chats:
        await account.pacer.heard(chat, (), account.clock.now())
    account.clock.advance(REPLY_WITHIN_S + 1)


def test_every_rule_that_cools_is_a_refusal_for_too_much() -> None:
    rules = {rule.name: rule for rule in outcome.RULES}
    for course in COURSES:
        assert {rules[name].result for name in course.rules} == {SendResult.RATE_LIMITED}
    assert course_of(outcome.rule_for("server returned error 479").name) is None, "concerns its message only"


async def test_463_stops_strangers_and_nobody_else() -> None:
    account = Account()
    await known_to(account, BEN)
    account.notebook.met(CLEO, account.clock.now())
    await refused(account, TIMELOCK)
    assert await account.try_to_send(BEN) is None
    assert await account.try_to_send(GROUP) is None
    assert await account.try_to_send(ANN) is not None
    assert await account.try_to_send(CLEO) is not None, "was written to before, and never wrote to us"
    assert account.postponed(Reason.COOLDOWN_STRANGERS) == 2
    sentence = account.pacer.sentence()
    assert sentence is not None
    assert "people who never wrote to this account" in sentence


@pytest.mark.parametrize("rule", [OVERLIMIT, LOOKUPS])
async def test_429_stops_everything_but_replies(rule: str) -> None:
    account = Account()
    await known_to(account, BEN, GROUP)
    await account.pacer.heard(CLEO, (), account.clock.now())
    await refused(account, rule)
    assert await account.try_to_send(CLEO) is None
    for chat in (ANN, BEN, GROUP):
        assert await account.try_to_send(chat) is not None
    await account.pacer.heard(GROUP, (), account.clock.now())
    await account.pacer.heard(BEN, (), account.clock.now())
    assert await account.try_to_send(GROUP) is None
    assert await account.try_to_send(BEN) is None
    assert account.postponed(Reason.COOLDOWN_UNASKED) == 3


@given(
    age_s=st.floats(0, REPLY_WITHIN_S - 1), rules=st.lists(st.sampled_from([TIMELOCK, OVERLIMIT]), max_size=4)
)
async def test_a_reply_is_never_held_by_a_cool_down(age_s: float, rules: list[str]) -> None:
    account = Account(replace(ANYTHING, new_chats_per_day=0))
    await account.pacer.heard(ANN, (), account.clock.now())
    account.clock.advance(age_s)
    for rule in rules:
        await refused(account, rule, to=BEN)
    assert await account.try_to_send(ANN) is None


@pytest.mark.parametrize(
    ("rule", "cooling", "lengths_s"),
    [
        (TIMELOCK, Cooling.STRANGERS, [DAY_S, 7 * DAY_S, 7 * DAY_S]),
        (OVERLIMIT, Cooling.UNASKED, [minutes * MINUTE for minutes in (5, 10, 20, 40, 60, 60)]),
    ],
)
async def test_repeated_they_last_longer(rule: str, cooling: Cooling, lengths_s: list[float]) -> None:
    account = Account()
    for times, length_s in enumerate(lengths_s, start=1):
        await refused(account, rule)
        cooldown = account.notebook.cooled[cooling]
        assert cooldown.times == times
        assert length_s <= cooldown.until - account.clock.now() <= 1.2 * length_s
        account.clock.advance(cooldown.until - account.clock.now() + 1)


async def test_refusals_of_what_was_already_on_its_way_do_not_make_it_longer() -> None:
    account = Account()
    await refused(account, TIMELOCK)
    before = dict(account.notebook.cooled)
    for _ in range(5):
        account.clock.advance(1)
        await refused(account, TIMELOCK)
    assert account.notebook.cooled == before
    assert account.metric("cooldowns_total", cooling="strangers") == 1


@pytest.mark.parametrize(("rule", "clean_s"), [(TIMELOCK, 28 * DAY_S), (OVERLIMIT, DAY_S)])
async def test_after_a_long_clean_while_the_first_one_is_short_again(rule: str, clean_s: float) -> None:
    account = Account()
    course = course_of(rule)
    assert course is not None
    for _ in range(2):
        await refused(account, rule)
        account.clock.advance(account.notebook.cooled[course.cooling].until - account.clock.now() + clean_s)
    assert account.notebook.cooled[course.cooling].times == 1


async def test_they_outlive_the_process_and_a_store_that_was_away() -> None:
    account = Account()
    account.notebook.away = True
    await refused(account, TIMELOCK)
    account.notebook.away = False
    assert await account.try_to_send(BEN) is not None, "and now the store is told, too"
    account.begin()
    await account.pacer.open()
    assert await account.try_to_send(BEN) is not None
    assert account.metric("cooldown_until_timestamp_seconds", cooling="strangers") == pytest.approx(
        account.notebook.cooled[Cooling.STRANGERS].until
    )


async def test_the_end_is_noticed_and_both_are_in_the_log() -> None:
    account = Account()
    with capture_logs() as logs:
        await refused(account, OVERLIMIT)
        assert account.metric("held", reason="cooldown_unasked") == 1
        account.clock.advance(6 * MINUTE + 1)
        account.pacer.ready_in_s()
        account.pacer.ready_in_s()
    assert [line["event"] for line in logs] == ["pace.cooldown_begun", "pace.cooldown_ended"]
    assert logs[0]["rule"] == "rate_limited"
    assert account.metric("held", reason="cooldown_unasked") == 0
    assert account.pacer.sentence() is None
    assert await account.try_to_send(ANN) is None


async def test_neither_log_nor_sentence_shows_whom_it_was_about() -> None:
    account = Account()
    with capture_logs() as logs:
        await refused(account, TIMELOCK)
        await refused(account, OVERLIMIT)
        await account.pacer.open()
    told = f"{logs} {account.pacer.sentence()}"
    assert ANN.split("@", maxsplit=1)[0] not in told


async def test_a_past_cool_down_of_the_store_holds_nothing() -> None:
    account = Account()
    account.notebook.cooled[Cooling.UNASKED] = Cooldown(until=account.clock.now() - 1, times=3)
    await account.pacer.open()
    assert await account.try_to_send(ANN) is None
    assert account.pacer.sentence() is None

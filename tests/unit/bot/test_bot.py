"""Who is answered, where, how often, and what may be seen of it."""

import asyncio

import pytest
import structlog
from opentelemetry.trace import SpanKind, StatusCode

from service.bot.bot import ADMINS_ONLY, APOLOGY, TOO_SLOW
from service.bot.router import Context
from service.errors import StoreFull
from service.queue.model import Enqueued
from tests.people import ANN, BEN, CLEO
from tests.unit.bot.conversation import GROUP, Conversation, jid


@pytest.fixture(autouse=True)
def commands(talk: Conversation) -> None:
    @talk.router.command("echo", help="Say it again.")
    async def echo(context: Context) -> None:
        await context.reply(context.text)

    @talk.router.command("count", help="One message for each word.")
    async def count(context: Context) -> None:
        for word in context.args:
            await context.reply(word)

    @talk.router.command("tell", help="Pass it on.")
    async def tell(context: Context) -> None:
        await context.send(context.args[0], "hello")

    @talk.router.command("secret", help="For admins.", admin=True)
    async def secret(context: Context) -> None:
        await context.reply("42")

    @talk.router.command("break", help="Raise.")
    async def broken(context: Context) -> None:
        raise RuntimeError(f"cannot {context.text}")

    @talk.router.command("hang", help="Never end.")
    async def hang(context: Context) -> None:
        await asyncio.Event().wait()


async def test_a_command_is_answered_in_the_chat_it_came_from(talk: Conversation) -> None:
    assert await talk.hears("!echo Hello  there ") == ["Hello  there"]
    assert await talk.hears(talk.said("!echo all", chat=GROUP)) == ["all"]
    assert [one.message.chat for one in talk.kept] == [jid(ANN), GROUP]
    assert talk.counted("echo", "answered") == 2


@pytest.mark.parametrize(
    "text", ["", "hello", "echo", "!", "! echo", "!!!", "?echo", "that was nice !echo", "!é"]
)
async def test_what_is_not_a_command_is_not_answered(talk: Conversation, text: str) -> None:
    assert await talk.hears(text) == []
    assert talk.traced() == ()


@pytest.mark.parametrize("text", ["!ECHO yes", "  !echo yes", "!echo\nyes", "!Echo\tyes\n"])
async def test_commands_may_be_written_as_people_write(talk: Conversation, text: str) -> None:
    assert await talk.hears(text) == ["yes"]


async def test_our_own_messages_are_not_commands(talk: Conversation) -> None:
    assert await talk.hears(talk.said("!echo loop", from_me=True)) == []


@pytest.mark.parametrize("chat", ["status@broadcast", "120363000000000002@newsletter"])
async def test_broadcasts_and_channels_are_not_answered(talk: Conversation, chat: str) -> None:
    assert await talk.hears(talk.said("!echo hello", chat=chat)) == []


async def test_a_message_that_comes_twice_is_answered_once(talk: Conversation) -> None:
    twice = talk.said("!count one two", message_id="3EB0AAAA")
    assert await talk.hears(twice) == ["one", "two"]
    assert await talk.hears(twice) == []


async def test_the_same_id_from_somebody_else_is_another_message(talk: Conversation) -> None:
    assert await talk.hears(talk.said("!echo a", by=ANN, message_id="3EB0AAAA")) == ["a"]
    assert await talk.hears(talk.said("!echo b", by=CLEO, message_id="3EB0AAAA")) == ["b"]


async def test_a_number_that_wrote_to_us_is_answered_whatever_its_form(talk: Conversation) -> None:
    assert await talk.hears(talk.said("!echo hello", by="999")) == ["hello"]


async def test_a_command_can_write_to_somebody_else(talk: Conversation) -> None:
    assert await talk.hears("!tell +1(202)555-0102") == ["hello"]
    assert talk.kept[0].message.chat == jid(BEN)
    assert await talk.hears("!tell nobody") == [APOLOGY]


async def test_an_unknown_command_gets_a_hint_but_not_in_a_group(talk: Conversation) -> None:
    assert await talk.hears("!ehco hello") == ["I don't know that. !help shows what I can do."]
    assert await talk.hears(talk.said("!ehco hello", chat=GROUP)) == []
    assert talk.counted("other", "unknown") == 2


async def test_an_admin_command_is_for_admins(talk: Conversation) -> None:
    assert await talk.hears(talk.said("!secret", by=ANN)) == [ADMINS_ONLY]
    assert await talk.hears(talk.said("!secret", by=BEN)) == ["42"]
    assert await talk.hears(talk.said("!secret", by=BEN, chat=GROUP)) == ["42"]
    assert (talk.counted("secret", "refused"), talk.counted("secret", "answered")) == (1, 2)


async def test_an_admin_is_known_by_the_phone_number_not_by_a_lid_that_looks_like_it(
    talk: Conversation,
) -> None:
    lid = "123456789012345@lid"
    assert await talk.hears(talk.said("!secret", sender=lid, sender_pn=jid(BEN))) == ["42"]
    assert await talk.hears(talk.said("!secret", sender=lid)) == [ADMINS_ONLY]
    assert await talk.hears(talk.said("!secret", sender=f"{BEN}@lid")) == [ADMINS_ONLY]
    assert await talk.hears(talk.said("!secret", sender=f"{BEN}@lid", sender_pn=jid(ANN))) == [ADMINS_ONLY]


async def test_a_command_that_raises_apologises_and_the_next_is_answered(talk: Conversation) -> None:
    assert await talk.hears("!break the door", "!echo still here") == [APOLOGY, "still here"]
    assert talk.counted("break", "failed") == 1


async def test_a_command_that_takes_too_long_is_given_up(talk: Conversation) -> None:
    talk.timeout_s = 0.01
    assert await talk.hears("!hang", "!echo still here") == [TOO_SLOW, "still here"]
    assert talk.counted("hang", "timed_out") == 1


@pytest.mark.parametrize("error", [TimeoutError, asyncio.CancelledError])
async def test_a_plugin_s_own_timeout_or_cancellation_is_a_failure_like_others(
    talk: Conversation, error: type[BaseException]
) -> None:
    @talk.router.command("odd", help="Raise something odd.")
    async def odd(context: Context) -> None:
        raise error

    assert await talk.hears("!odd", "!echo still here") == [APOLOGY, "still here"]
    assert talk.counted("odd", "failed") == 1


async def test_when_nothing_can_be_kept_the_bot_says_so_in_log_and_metric_and_goes_on(
    talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> list[Enqueued]:
        raise StoreFull("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(talk.store, "enqueue", full)
        assert await talk.hears("!echo hello", "!nonsense") == []
    assert talk.registry.get_sample_value("whatsapp_bot_answers_lost_total", {"account": "default"}) == 2
    assert talk.counted("echo", "failed") == 1
    assert await talk.hears("!echo again") == ["again"]


async def test_more_than_may_wait_are_dropped_and_counted(talk: Conversation) -> None:
    talk.waiting_limit = 2
    assert await talk.hears("!echo 1", "!echo 2", "!echo 3") == ["1", "2"]
    assert talk.registry.get_sample_value("whatsapp_bot_dropped_total", {"account": "default"}) == 1


async def test_every_command_has_its_series_before_it_is_used(talk: Conversation) -> None:
    await talk.hears()
    assert {talk.counted("break", result) for result in ("answered", "refused", "failed", "timed_out")} == {0}
    assert talk.counted("other", "unknown") == 0


async def test_a_command_is_one_span_that_says_how_it_ended(talk: Conversation) -> None:
    await talk.hears("!echo hello", "!break it")
    good, bad = talk.traced()
    assert {span.name for span in (good, bad)} == {"process inbound"}
    assert good.kind is SpanKind.CONSUMER
    assert good.attributes is not None
    assert good.attributes["messaging.destination.template"] == "direct"
    assert good.status.status_code is StatusCode.UNSET
    assert bad.attributes is not None
    assert (bad.status.status_code, bad.attributes["error.type"]) == (StatusCode.ERROR, "RuntimeError")


async def test_neither_log_nor_span_nor_metric_says_who_wrote_or_what(talk: Conversation) -> None:
    with structlog.testing.capture_logs() as lines:
        await talk.hears("!break parcel", "!echo parcel", "!parcel", talk.said("!secret parcel"))
    assert [line["event"] for line in lines].count("command.ended") == 4
    failed = next(line for line in lines if line["event"] == "command.failed")
    assert failed["error_type"] == "RuntimeError"
    assert "in broken" in failed["frames"]
    shown = (
        str(lines) + "".join(span.to_json() for span in talk.traced()) + str(list(talk.registry.collect()))
    )
    assert "parcel" not in shown.replace('raise RuntimeError(f"cannot {context.text}")', "")
    assert ANN not in shown

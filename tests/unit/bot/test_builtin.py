"""!ping, !help, !status."""

from zoneinfo import ZoneInfo

import pytest

from service.bot.builtin import add_builtin_commands
from service.queue.model import State as MessageState
from service.reconnect.status import Advice, State, Status
from tests.people import BEN
from tests.unit.bot.conversation import Conversation

MINUTE, HOUR = 60.0, 3600.0


@pytest.fixture
def facts(talk: Conversation) -> dict[str, float | None]:
    """What `!status` will find; times in seconds before now."""
    facts: dict[str, float | None] = {"backup": None}

    def status() -> Status:
        return Status(
            state=State.CONNECTED,
            reason="connected",
            sentence="WhatsApp is connected.",
            advice=Advice.NOTHING,
            since=talk.clock.now() - 3 * HOUR,
        )

    def last_backup_at() -> float | None:
        age = facts["backup"]
        return None if age is None else talk.clock.now() - age

    add_builtin_commands(
        talk.router,
        status=status,
        counts=lambda: {MessageState.QUEUED: 3, MessageState.DEAD: 1, MessageState.READ: 900},
        last_backup_at=last_backup_at,
        clock=talk.clock,
        zone=ZoneInfo("Europe/Berlin"),
    )
    return facts


@pytest.mark.usefixtures("facts")
async def test_ping_is_answered(talk: Conversation) -> None:
    assert await talk.hears("!ping") == ["pong"]


@pytest.mark.usefixtures("facts")
async def test_help_lists_what_the_asker_may_use(talk: Conversation) -> None:
    (for_ann,) = await talk.hears("!help")
    (for_ben,) = await talk.hears(talk.said("!help", by=BEN))
    assert for_ann.splitlines() == ["!help: What I can do for you.", "!ping: Am I there?"]
    assert "!status: Connection, queue and last backup." in for_ben.splitlines()


@pytest.mark.usefixtures("facts")
async def test_status_says_state_queue_and_that_there_is_no_backup_yet(talk: Conversation) -> None:
    (told,) = await talk.hears(talk.said("!status", by=BEN))
    assert told.splitlines() == [
        "Connection: connected since 2023-11-14 20:13 CET (3 hours ago). WhatsApp is connected.",
        "Queue: 3 queued, 0 sending, 0 unknown, 1 dead.",
        "Last backup: none yet.",
    ]


async def test_status_says_when_the_last_backup_was(
    talk: Conversation, facts: dict[str, float | None]
) -> None:
    facts["backup"] = MINUTE
    (told,) = await talk.hears(talk.said("!status", by=BEN))
    assert told.splitlines()[-1] == "Last backup: 2023-11-14 23:12 CET (1 minute ago)."

"""`beacon session ...` against the API; only WhatsApp is scripted."""

import asyncio
import io
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from click.testing import CliRunner

from service.cli import main
from service.errors import ApiRefused, EngineRefused
from service.pairing import Pairing
from service.reconnect.status import Advice, State, Status
from service.remote import Remote
from service.web import qr
from tests.component.web.conftest import API_TOKEN, Beacon, Start
from tests.component.web.scripted import BACKING_OFF, CONNECTED, PAIRING, QR_TEXT, STARTING
from tests.people import ANN

NEW_CODES = replace(STARTING, state=State.UNPAIRED, reason="qr_codes_used_up", advice=Advice.SCAN_QR)
LOGGED_OUT = replace(STARTING, state=State.LOGGED_OUT, reason="logged_out", advice=Advice.SCAN_QR)
ABORTED = replace(STARTING, state=State.UNPAIRED, reason="pairing_aborted")
REPLACED = replace(STARTING, state=State.REPLACED, reason="replaced", sentence="Another took over.")


def url(beacon: Beacon) -> str:
    return str(beacon.client.make_url("/"))


async def command(beacon: Beacon, *arguments: str, stdin: str | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `beacon session ARGUMENTS`."""
    result = await asyncio.to_thread(
        CliRunner().invoke, main, ["session", *arguments, "--url", url(beacon)], input=stdin
    )
    return result.exit_code, result.stdout, result.stderr


class Screen(io.StringIO):
    """A terminal that remembers."""

    def isatty(self) -> bool:
        return True


class Follower:
    """A `Pairing` on a terminal, whose every look is a step of a script."""

    def __init__(
        self, beacon: Beacon, *, phone: str | None = None, screen: io.StringIO | None = None
    ) -> None:
        self.screen = Screen() if screen is None else screen
        self._beacon = beacon
        self._loop = asyncio.get_running_loop()
        self._steps: list[Callable[[], object]] = []
        self._now = 0.0
        self.pairing = Pairing(
            Remote(url(beacon)), self.screen, phone=phone, monotonic=lambda: self._now, sleep=self._sleep
        )

    async def follows(self, *steps: Callable[[], object], timeout_s: float = 60.0) -> str:
        """The state in which it ends, when between two looks happens what the script says."""
        self._steps = list(steps)
        session = await asyncio.to_thread(self.pairing.follow, timeout_s=timeout_s)
        assert self._steps == [], "it ended too early"
        return str(session["state"])

    def _sleep(self, seconds: float) -> None:
        self._now += seconds
        if self._steps:
            asyncio.run_coroutine_threadsafe(_do(self._steps.pop(0)), self._loop).result()


async def _do(step: Callable[[], object]) -> None:
    step()


def test_everything_that_changes_something_is_offered() -> None:
    group = main.commands["session"]
    assert hasattr(group, "commands")
    assert set(group.commands) == {"status", "pair", "restart", "clear", "logout"}


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (CONNECTED, 0, "Connected. Messages go out as they come in.\n"),
        (
            BACKING_OFF,
            1,
            "Waiting to try again. WhatsApp cannot be reached from this machine. "
            "Check this machine's network, and WHATSAPP_PROXY if it is set.\n",
        ),
    ],
    ids=["connected", "not"],
)
async def test_status_says_where_it_is_and_whether_that_is_good(
    beacon: Beacon, status: Status, code: int, says: str
) -> None:
    beacon.connection.become(status)

    assert await command(beacon, "status") == (code, says, "")


async def test_status_comes_as_the_api_s_own_object(beacon: Beacon) -> None:
    beacon.connection.become(CONNECTED)

    _, out, _ = await command(beacon, "status", "--json")

    assert json.loads(out) == await (await beacon.client.get("/api/v1/session")).json()


async def test_the_token_is_needed_where_the_service_has_one(start: Start) -> None:
    guarded = await start(api_token=API_TOKEN)

    assert (await command(guarded, "status"))[0] == 77
    assert (await command(guarded, "restart", "--token", API_TOKEN))[0] == 0
    assert guarded.connection.asked == ["restart"]


@pytest.mark.parametrize("what", ["clear", "logout"])
async def test_what_ends_the_session_is_done_after_a_yes(beacon: Beacon, what: str) -> None:
    assert (await command(beacon, what))[0] == 1
    assert (await command(beacon, what, stdin="n\n"))[0] == 1
    assert beacon.connection.asked == []

    code, out, err = await command(beacon, what, "--json", stdin="y\n")
    assert (code, json.loads(out)["state"]) == (0, "starting")
    assert "linked again" in err

    assert (await command(beacon, what, "--yes"))[0] == 0
    assert beacon.connection.asked == [what, what]


async def test_what_cannot_be_done_now_is_told_in_the_service_s_words(beacon: Beacon) -> None:
    beacon.connection.refusal = EngineRefused("the connection is connecting")

    code, out, err = await command(beacon, "logout", "--yes")

    assert (code, out) == (65, "")
    assert "the connection is connecting" in err


async def test_codes_are_drawn_as_they_are_renewed_until_one_has_been_scanned(beacon: Beacon) -> None:
    beacon.connection.become(STARTING)
    follower = Follower(beacon)

    assert (
        await follower.follows(
            lambda: beacon.connection.become(PAIRING),
            lambda: None,
            lambda: beacon.connection.become(replace(PAIRING, qr=QR_TEXT + "2")),
            lambda: beacon.connection.become(NEW_CODES),
            lambda: beacon.connection.become(CONNECTED),
        )
        == "connected"
    )
    shown = follower.screen.getvalue()
    assert shown.count(qr.terminal(QR_TEXT)) == 1
    assert shown.count(qr.terminal(QR_TEXT + "2")) == 1
    assert shown.count("Link your phone. ") == 1
    assert shown.endswith("Connected. Messages go out as they come in.\n")


async def test_a_code_is_never_drawn_into_a_file(beacon: Beacon) -> None:
    beacon.connection.become(PAIRING)
    follower = Follower(beacon, screen=io.StringIO())

    await follower.follows(
        lambda: beacon.connection.become(replace(PAIRING, qr=QR_TEXT + "2")),
        lambda: beacon.connection.become(CONNECTED),
    )
    shown = follower.screen.getvalue()
    assert not set(shown) & set("█▀▄")
    assert shown.count("drawn only on a terminal") == 1


async def test_a_number_gets_one_code_to_type_and_the_wait_ends_with_the_link(beacon: Beacon) -> None:
    beacon.connection.become(NEW_CODES)
    follower = Follower(beacon, phone=f"+{ANN}")
    with_code = replace(PAIRING, pair_code="ABCD1234")

    assert (
        await follower.follows(
            lambda: beacon.connection.become(PAIRING),
            lambda: beacon.connection.become(with_code),
            lambda: beacon.connection.become(replace(with_code, qr=QR_TEXT + "2")),
            lambda: beacon.connection.become(replace(STARTING, state=State.CONNECTING)),
            lambda: beacon.connection.become(CONNECTED),
        )
        == "connected"
    )
    assert beacon.connection.asked_to_pair == [ANN]
    shown = follower.screen.getvalue()
    assert shown.count("ABCD-1234") == 1
    assert not set(shown) & set("█▀▄")


async def test_a_code_that_nobody_typed_is_said_to_have_expired(beacon: Beacon) -> None:
    beacon.connection.become(PAIRING)
    follower = Follower(beacon, phone=f"+{ANN}")

    await follower.follows(
        lambda: beacon.connection.become(replace(PAIRING, pair_code="ABCD1234")),
        lambda: beacon.connection.become(NEW_CODES),
    )
    assert follower.pairing.expired
    assert "The code has expired" in follower.screen.getvalue()
    assert len(beacon.connection.asked_to_pair) == 1


@pytest.mark.parametrize("resting", [LOGGED_OUT, ABORTED], ids=["logged out", "aborted"])
async def test_a_connection_that_waits_for_the_operator_is_started(beacon: Beacon, resting: Status) -> None:
    beacon.connection.become(resting)
    follower = Follower(beacon)

    assert (
        await follower.follows(
            lambda: None,  # the restart was asked for and has not begun
            lambda: beacon.connection.become(PAIRING),
            lambda: beacon.connection.become(CONNECTED),
        )
        == "connected"
    )
    assert beacon.connection.asked == ["restart"]


async def test_a_pairing_that_nobody_does_ends_with_its_time(beacon: Beacon) -> None:
    beacon.connection.become(PAIRING)

    assert await Follower(beacon).follows(timeout_s=5.0) == "pairing"
    assert beacon.connection.asked == []


async def test_a_refused_number_ends_the_wait(beacon: Beacon) -> None:
    beacon.connection.become(PAIRING)

    with pytest.raises(ApiRefused, match="begins with its country code"):
        await Follower(beacon, phone="0151 23456789").follows()


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (CONNECTED, 0, ""),
        (PAIRING, 75, "beacon: not linked (qr_ready)\n"),
        (REPLACED, 1, "beacon: not linked (replaced)\n"),
    ],
    ids=["linked already", "nobody came", "stopped"],
)
async def test_the_exit_code_says_how_the_pairing_ended(
    beacon: Beacon, status: Status, code: int, says: str
) -> None:
    beacon.connection.become(status)

    ended, out, err = await command(beacon, "pair", "--timeout", "0", "--json")

    assert (ended, err) == (code, says)
    assert json.loads(out.splitlines()[-1])["reason"] == beacon.connection.status.reason

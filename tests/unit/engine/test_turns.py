"""Who uses the sessions of the encryption waits until whoever used them before has put them back."""

import threading
import time
from collections.abc import Callable

import pytest

from service.engine.turns import LIMIT_S, Turns, Use

CLIENT = "Client"
SEND = "Stored message secret key for outgoing message 3EB01"
RESEND = "Found message in local cache to accept retry receipt for 1@lid/3EB02 from 1:1@lid"
RESEND_ALTERNATE = (
    "Found message in local cache with alternate chat JID 1@s.whatsapp.net to accept retry receipt for"
    " 1@lid/3EB02 from 1:1@lid"
)
RECEIVE = "Decrypting message from 1:1@lid in 1@lid"


def wrote(stanza: str) -> tuple[str, str]:
    return "Client/Send", stanza


SENT = wrote('<message id="3EB01" to="1@lid" type="text"><participants/></message>')
RESENT = wrote('<message device_fanout="false" id="3EB02" t="1" to="1:1@lid" type="text"/>')
CONFIRMED = wrote('<receipt id="3EB03" to="1:1@lid" type="inactive"/>')


class Thread(threading.Thread):
    """A thread of Go that says something."""

    def __init__(self, turns: Turns, line: str) -> None:
        super().__init__(daemon=True)
        self._turns, self._line = turns, line
        self.start()

    def run(self) -> None:
        self._turns.hear(CLIENT, self._line)

    @property
    def waits(self) -> bool:
        return self.is_alive()

    def goes_on(self) -> bool:
        self.join(LIMIT_S / 2)
        return not self.is_alive()


def waiting(turns: Turns, line: str) -> Thread:
    """A thread that has said so and waits."""
    before, deadline = turns.waiting, time.monotonic() + LIMIT_S / 2
    thread = Thread(turns, line)
    while turns.waiting == before:
        assert time.monotonic() < deadline, f"nobody waits after {line!r}"
        thread.join(0.001)
    return thread


BEGINNINGS = {"send": SEND, "resend": RESEND, "resend, other id": RESEND_ALTERNATE, "receive": RECEIVE}
ENDS: dict[str, tuple[str, Callable[[Turns], None]]] = {
    "sent": (SEND, lambda turns: turns.hear(*SENT)),
    "not sent": (SEND, lambda turns: turns.send_ended()),
    "resent": (RESEND, lambda turns: turns.hear(*RESENT)),
    "not resent": (
        RESEND,
        lambda turns: turns.hear(
            CLIENT, "Failed to handle retry receipt for 1@lid/3EB02 from 1:1@lid: no keys"
        ),
    ),
    "asked too often": (
        RESEND,
        lambda turns: turns.hear(
            CLIENT, "Dropping retry request from 3EB02 for 1:1@lid: internal retry counter is 10"
        ),
    ),
    "read": (RECEIVE, lambda turns: turns.hear(*CONFIRMED)),
    "read while online": (RECEIVE, lambda turns: turns.hear(*wrote('<receipt id="3EB03" to="1:1@lid"/>'))),
    "our own, from the phone": (
        RECEIVE,
        lambda turns: turns.hear(*wrote('<receipt id="3EB03" recipient="2@lid" to="1@lid" type="sender"/>')),
    ),
    "no message at all": (
        RECEIVE,
        lambda turns: turns.hear(*wrote('<ack class="message" error="491" id="3EB03" to="1:1@lid"/>')),
    ),
    "unreadable": (
        RECEIVE,
        lambda turns: turns.hear(CLIENT, "Error decrypting message 3EB03 from 1:1@lid: no session"),
    ),
    "not confirmed": (
        RECEIVE,
        lambda turns: turns.hear(CLIENT, "Failed to send receipt for 3EB03: websocket not connected"),
    ),
    "not handled": (RECEIVE, lambda turns: turns.hear(CLIENT, "Handler for 3EB03 failed")),
    "Go panicked": (RECEIVE, lambda turns: turns.hear(CLIENT, "Message decryption for 3EB03 panicked: nil")),
}


@pytest.mark.parametrize("second", BEGINNINGS.values(), ids=BEGINNINGS)
@pytest.mark.parametrize(("first", "end"), ENDS.values(), ids=ENDS)
def test_the_next_one_goes_on_when_the_one_before_has_ended(
    first: str, end: Callable[[Turns], None], second: str
) -> None:
    turns = Turns()
    turns.hear(CLIENT, first)
    if first == second == RECEIVE:
        second = SEND  # messages are received one after the other
    next_one = waiting(turns, second)
    end(turns)
    assert next_one.goes_on()
    assert turns.overruns == 0


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(wrote('<message id="3EB09" to="1@lid"/>'), id="another message is written"),
        pytest.param(wrote('<ack class="receipt" id="3EB01" to="1@lid"/>'), id="a receipt is acknowledged"),
        pytest.param(wrote('<iq id="3EB01" to="s.whatsapp.net"/>'), id="the server is asked"),
        pytest.param((CLIENT, "Sent retry #1 for 1@lid/3EB01 to 1:1@lid"), id="something else is said"),
        pytest.param(("Client/Recv", '<message id="3EB01"/>'), id="a message came"),
        pytest.param(CONFIRMED, id="another message was received"),
    ],
)
def test_what_is_about_something_else_ends_no_send(line: tuple[str, str]) -> None:
    turns = Turns()
    turns.hear(CLIENT, SEND)
    next_one = waiting(turns, RECEIVE)
    turns.hear(*line)
    assert next_one.waits
    turns.send_ended()
    assert next_one.goes_on()


@pytest.mark.parametrize("kind", ["retry", "read", "read-self", "played"])
def test_a_receipt_that_does_not_confirm_the_message_ends_no_receiving(kind: str) -> None:
    turns = Turns()
    turns.hear(CLIENT, RECEIVE)
    send = waiting(turns, SEND)
    turns.hear(*wrote(f'<receipt id="3EB03" to="1:1@lid" type="{kind}"/>'))
    assert send.waits
    turns.hear(*CONFIRMED)
    assert send.goes_on()


def test_first_come_first_served() -> None:
    turns = Turns()
    turns.hear(CLIENT, SEND)
    receive = waiting(turns, RECEIVE)
    resend = waiting(turns, RESEND)
    turns.hear(*SENT)
    assert receive.goes_on()
    assert resend.waits
    turns.hear(*CONFIRMED)
    assert resend.goes_on()


def test_a_send_comes_between_two_messages_that_are_received_at_once() -> None:
    turns = Turns()
    turns.hear(CLIENT, RECEIVE)
    send = waiting(turns, SEND)
    second = Thread(turns, RECEIVE)  # so the first one is over
    assert send.goes_on()
    assert second.waits
    turns.hear(*SENT)
    assert second.goes_on()


def test_the_late_confirmation_of_a_message_does_not_end_the_receiving_of_the_next() -> None:
    turns = Turns()
    turns.hear(CLIENT, RECEIVE)
    turns.hear(CLIENT, RECEIVE)
    send = waiting(turns, SEND)
    turns.hear(*CONFIRMED)
    assert send.waits
    turns.hear(*CONFIRMED)
    assert send.goes_on()


def test_nobody_waits_longer_than_the_limit() -> None:
    turns = Turns(limit_s=0.01)
    turns.hear(CLIENT, SEND)
    turns.hear(CLIENT, RECEIVE)  # nobody would ever have told that the send ended
    assert turns.overruns == 1
    turns.hear(*SENT)
    assert Thread(turns, SEND).goes_on()


def test_turns_are_counted() -> None:
    turns = Turns()
    for begins, ends in ((SEND, SENT), (RESEND, RESENT), (RECEIVE, CONFIRMED), (RECEIVE, CONFIRMED)):
        turns.hear(CLIENT, begins)
        turns.hear(*ends)
    assert turns.taken == {Use.SEND: 1, Use.RESEND: 1, Use.RECEIVE: 2}


def test_a_message_is_being_received_until_it_was_confirmed_or_could_not_be() -> None:
    turns = Turns()
    assert (turns.receiving, turns.received) == (0, None)
    turns.hear(CLIENT, RECEIVE)
    turns.hear(CLIENT, RECEIVE)
    assert (turns.receiving, turns.received) == (2, None)
    turns.hear(*CONFIRMED)
    assert (turns.receiving, turns.received) == (1, "3EB03")
    turns.hear(CLIENT, "Failed to send receipt for 3EB04: websocket not connected")
    assert (turns.receiving, turns.received) == (0, "3EB04")


def test_a_message_that_could_not_be_decrypted_is_not_received() -> None:
    turns = Turns()
    turns.hear(CLIENT, RECEIVE)
    turns.hear(CLIENT, "Error decrypting message 3EB03 from 1:1@lid in 1@lid: no session")
    turns.hear(*wrote('<receipt id="3EB03" to="1:1@lid" type="retry"><retry/></receipt>'))
    assert (turns.receiving, turns.received) == (0, None)

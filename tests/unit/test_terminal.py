"""The terminal tells each new thing once, and draws the QR code only for a person."""

import io
from dataclasses import replace

from service.reconnect.status import Advice, State, Status
from service.terminal import Terminal

PAIRING = Status(
    state=State.PAIRING,
    reason="scan_needed",
    sentence="Waiting for the phone.",
    advice=Advice.SCAN_QR,
    since=0.0,
    qr="2@abc",
)


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_it_says_the_state_and_what_to_do() -> None:
    out = io.StringIO()
    terminal = Terminal(out)
    terminal.show(PAIRING)
    assert "Waiting for the phone." in out.getvalue()
    terminal.show(replace(PAIRING, reason="dial_failed", qr=None, advice=Advice.CHECK_NETWORK))
    assert "WHATSAPP_PROXY" in out.getvalue()


def test_the_code_is_drawn_on_a_screen_and_never_into_a_file() -> None:
    screen, file = Screen(), io.StringIO()
    Terminal(screen).show(PAIRING)
    Terminal(file).show(PAIRING)
    assert "█" in screen.getvalue()
    assert "█" not in file.getvalue()
    assert "2@abc" not in file.getvalue()


def test_what_was_said_is_not_said_again() -> None:
    out = io.StringIO()
    terminal = Terminal(out)
    terminal.show(PAIRING)
    once = out.getvalue()
    terminal.show(replace(PAIRING, since=99.0))
    assert out.getvalue() == once
    terminal.show(replace(PAIRING, qr="2@def"))
    assert out.getvalue() != once

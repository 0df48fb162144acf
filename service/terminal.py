"""What `beacon run` tells the person in front of it: where the page is, what to do, and the QR code.

Written to stdout; the log goes to stderr. The QR code is a key to the account for as long as it is
valid, so it is drawn only on a terminal, never into a file or a platform's log stream.
"""

import io
from typing import TextIO

import segno

from service.reconnect.status import Advice, Status
from service.reconnect.words import ADVICES, STATES

SAID_ALREADY = frozenset({Advice.NOTHING, Advice.SCAN_QR})
"""Advices that the sentence beside them gives as well, or that need not be given."""


class Terminal:
    """Follows the connection's status and prints what changed."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._last: tuple[str, str, str | None, str | None] | None = None

    def welcome(self, *, url: str, token_needed: bool) -> None:
        """Say where the page is."""
        sign_in = " (sign in with API_TOKEN)" if token_needed else ""
        self._print(f"Beacon is running. The page: {url}{sign_in}. Ctrl-C ends it.")

    def show(self, status: Status) -> None:
        """Print the status when it says something new."""
        now = (status.state, status.reason, status.qr, status.pair_code)
        if now == self._last:
            return
        self._last = now
        advice = "" if status.advice in SAID_ALREADY else f" {ADVICES[status.advice]}"
        self._print(f"{STATES[status.state].title}. {status.sentence}{advice}")
        if status.qr is not None and self._out.isatty():
            drawn = io.StringIO()
            segno.make_qr(status.qr).terminal(drawn, compact=True, border=2)
            self._print(drawn.getvalue())

    def _print(self, text: str) -> None:
        print(text, file=self._out, flush=True)

"""Follows a running Beacon, over its API, while a phone is being linked.

The QR code is a key to the account for as long as it is valid, so it is drawn only on a terminal.
"""

import time
from collections.abc import Callable
from typing import Any, Final, TextIO

from service.remote import Remote

POLL_S: Final = 0.5
SAID_ALREADY: Final = frozenset({"nothing", "scan_qr"})
"""Advices that the sentence beside them gives as well, or that need not be given."""


class Pairing:
    """Shows to one person what there is to scan, or to type into the phone with the number `phone`."""

    def __init__(
        self,
        remote: Remote,
        out: TextIO,
        *,
        phone: str | None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._remote = remote
        self._out = out
        self._phone = phone
        self._monotonic = monotonic
        self._sleep = sleep
        self._resting: tuple[str, str] | None = None
        self._said: tuple[str, str] | None = None
        self._drawn: str | None = None
        self._code: str | None = None
        self._code_seen = False
        self.expired = False
        """Whether the code to type was not typed in time."""

    def follow(self, *, timeout_s: float) -> dict[str, Any]:
        """The session once it is connected, once it cannot come to that by itself, or after `timeout_s`.

        A connection that waits for the operator is started. A code to type is asked for once, and its
        expiry is an end as well. Raises ApiError.
        """
        deadline = self._monotonic() + timeout_s
        session = self._remote.session()
        if _waits_for_operator(session):
            self._resting = _place(session)
            self._remote.restart()
        while not self._is_over(session) and self._monotonic() < deadline:
            self._sleep(POLL_S)
            session = self._remote.session()
        return session

    def _is_over(self, session: dict[str, Any]) -> bool:
        if _place(session) == self._resting:
            return False  # the restart has not begun yet
        self._resting = None
        self._tell(session)
        if session["state"] == "connected" or session["tone"] == "bad":
            return True
        if self._phone is None:
            self._draw(session["qr"])
            return False
        if self._code is None and session["qr"] is not None:
            self._show_code(self._phone)
        return self._has_expired(session)

    def _tell(self, session: dict[str, Any]) -> None:
        if self._said != _place(session):
            self._said = _place(session)
            advice = "" if session["advice"] in SAID_ALREADY else f" {session['advice_sentence']}"
            self._print(f"{session['title']}. {session['sentence']}{advice}")

    def _draw(self, qr: dict[str, str] | None) -> None:
        if qr is None or qr["text"] == self._drawn:
            return
        if self._out.isatty():
            self._print(qr["terminal"])
        elif self._drawn is None:
            self._print("The code is drawn only on a terminal, and on the page.")
        self._drawn = qr["text"]

    def _show_code(self, phone: str) -> None:
        self._code = self._remote.pair_code(phone)
        self._print(
            "On the phone, open WhatsApp > Linked devices > Link a device > Link with phone number instead, "
            f"and type\n\n    {self._code}\n"
        )

    def _has_expired(self, session: dict[str, Any]) -> bool:
        """Codes live as long as the engine that asked for them, and it is recycled when they are used up."""
        valid = session["pair_code"] is not None and session["pair_code"] == self._code
        self._code_seen = self._code_seen or valid
        self.expired = self._code_seen and not valid and session["state"] in {"unpaired", "pairing"}
        if self.expired:
            self._print("The code has expired. Run the command again for a new one.")
        return self.expired

    def _print(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def _place(session: dict[str, Any]) -> tuple[str, str]:
    return session["state"], session["reason"]


def _waits_for_operator(session: dict[str, Any]) -> bool:
    """Whether no code will come unless somebody asks for it."""
    return session["state"] == "logged_out" or _place(session) == ("unpaired", "pairing_aborted")

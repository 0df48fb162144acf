"""Turns at the sessions of the encryption: whatsmeow takes none, and so loses messages.

It takes a session from its store, turns the ratchet and puts it back, with no lock between: when it sends
(send.go, encryptMessageForDevices), when it receives (message.go, decryptDM), and when it sends again what
somebody could not read (retry.go, each request in a goroutine of its own). What happened between is undone.
Then the next message is encrypted with a key that was used before; its recipient takes it for an old one,
drops it without asking for it, and confirms it.

But whatsmeow says what it is about to do, on the thread that will do it, and waits for whoever listens to its
log (goneonize/utils/log.go). So the listener makes it wait until it is its turn. Turns begin and end with the
words below, which are tested against the installed library: without them nobody would ever wait.
"""

import re
import threading
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

LIMIT_S: Final = 3.0
"""How long anybody waits. Whoever has the turn may be asking the server for keys over a slow line."""

WRITTEN: Final = "Client/Send"
"""whatsmeow's log of what it writes to the server."""


class Use(StrEnum):
    """What sessions are used for."""

    SEND = "send"
    RESEND = "resend"
    RECEIVE = "receive"


@dataclass(frozen=True, slots=True)
class Turn:
    """One use, by the message's id. Without id: the message that is being received, of which there is one."""

    use: Use
    id: str = ""


_BEGIN: Final = (
    (Use.SEND, re.compile(r"(?:Stored|Failed to store) message secret key for outgoing message ([^\s:]+)")),
    (Use.RESEND, re.compile(r"Found message in .* to accept retry receipt for [^/]*/(\S+) from ")),
    (Use.RECEIVE, re.compile(r"Decrypting message from ()")),
)

_END: Final = (
    (Use.RESEND, re.compile(r"Failed to handle retry receipt for [^/]*/(\S+) from ")),
    (Use.RESEND, re.compile(r"Dropping retry request from (\S+) for ")),
    (Use.RECEIVE, re.compile(r"Error decrypting message ()")),
    (Use.RECEIVE, re.compile(r"Message decryption for \S+ panicked()")),
    (Use.RECEIVE, re.compile(r"Handler for \S+ failed()")),
)

_MESSAGE: Final = re.compile(r'<message [^>]*?\bid="([^"]*)"')
_CONFIRMED: Final = re.compile(r'<receipt (?![^>]* type="(?:retry|read|played))[^>]*?\bid="([^"]*)"')
_NOT_CONFIRMED: Final = re.compile(r"Failed to send receipt for ([^\s:]+)")
_NO_MESSAGE: Final = re.compile(r'<ack (?=[^>]*class="message")[^>]* error="')
"""What ends the receiving of a message that could be decrypted."""


class Turns:
    """Who uses the sessions now, and who waits, first come first served."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._now: Turn | None = None
        self._waiting: deque[tuple[Turn, threading.Event]] = deque()
        self._ends_to_come = 0
        self.receiving = 0
        """How many messages are being received or wait for it."""
        self.received: str | None = None
        """The id of the last message that was decrypted; by then whatsmeow has handed over its event."""
        self.taken = dict.fromkeys(Use, 0)
        """How many turns there were."""
        self.overruns = 0
        """How often somebody went ahead because a turn took longer than the limit."""

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    def hear(self, logger: str, text: str) -> None:
        """whatsmeow says this on the calling thread; returns when that may go on."""
        if logger == WRITTEN:
            self._hear_written(text)
            return
        for use, words in _BEGIN:
            if found := words.match(text):
                self._begin(Turn(use, found[1]))
                return
        for use, words in _END:
            if found := words.match(text):
                self._end(Turn(use, found[1]))
                return
        if found := _NOT_CONFIRMED.match(text):
            self._end_receiving(found[1])

    def send_ended(self) -> None:
        """The send is over, however it ended; there is one at a time."""
        with self._lock:
            if self._now is not None and self._now.use is Use.SEND:
                self._next()

    def _hear_written(self, text: str) -> None:
        if found := _MESSAGE.match(text):
            self._end(Turn(Use.SEND, found[1]))
            self._end(Turn(Use.RESEND, found[1]))
        elif found := _CONFIRMED.match(text):
            self._end_receiving(found[1])
        elif _NO_MESSAGE.match(text):
            self._end(Turn(Use.RECEIVE))

    def _end_receiving(self, message_id: str) -> None:
        if self.receiving:
            self.received = message_id
            self._end(Turn(Use.RECEIVE))

    def _begin(self, turn: Turn) -> None:
        with self._lock:
            self.taken[turn.use] += 1
            self.receiving += turn.use is Use.RECEIVE
            if turn == self._now == Turn(Use.RECEIVE):  # messages are received one after the other:
                self._ends_to_come += 1  # the one before is over, and its end will be said
                self._next()
            if self._now is None:
                self._now = turn
                return
            gate = threading.Event()
            self._waiting.append((turn, gate))
        if not gate.wait(self._limit_s):
            self._go_ahead(turn, gate)

    def _go_ahead(self, turn: Turn, gate: threading.Event) -> None:
        with self._lock:
            if gate.is_set():
                return
            self._waiting.remove((turn, gate))
            self._now, self._ends_to_come = turn, 0
            self.receiving = int(turn.use is Use.RECEIVE)
            self.overruns += 1

    def _end(self, turn: Turn) -> None:
        with self._lock:
            self.receiving = max(0, self.receiving - (turn.use is Use.RECEIVE))
            if turn.use is Use.RECEIVE and self._ends_to_come:
                self._ends_to_come -= 1
            elif turn == self._now:
                self._next()

    def _next(self) -> None:
        self._now = None
        if self._waiting:
            self._now, gate = self._waiting.popleft()
            gate.set()

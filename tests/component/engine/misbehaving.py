"""Engines that misbehave, each in one way that the real one cannot be made to on demand.

`python -m tests.component.engine.misbehaving WAY --fd N --heartbeat S`
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

from service.engine.protocol import (
    PROTOCOL_VERSION,
    Connected,
    Done,
    Frame,
    Heartbeat,
    Hello,
    encode,
)
from tests.people import ANN

GO_PANIC = f"""\
panic: runtime error: invalid memory address or nil pointer dereference
goroutine 17 [running, locked to thread]:
main.SendMessage({ANN})
"""
BEAT = Heartbeat(
    connected=True,
    logged_in=True,
    events_queued=0,
    sends_at_hand=0,
    resident_bytes=1,
    threads=1,
    open_fds=1,
    unraisable=0,
)
COMING_BACK_S = 0.05  # between heartbeats of those that have a heart


class Engine:
    """The child's end of the conversation."""

    def __init__(self, fd: int) -> None:
        self.socket = socket.socket(fileno=fd)

    def say(self, frame: Frame) -> None:
        self.socket.sendall(encode(frame))

    def hello(self, protocol: int = PROTOCOL_VERSION) -> None:
        self.say(Hello(protocol=protocol, pid=os.getpid(), neonize="0", whatsmeow="0"))

    def live(self) -> None:
        """Beat until the end."""
        while True:
            self.say(BEAT)
            time.sleep(COMING_BACK_S)


def silent(_: Engine) -> None:
    while True:
        signal.pause()


def exits(_: Engine) -> None:
    print(f"CRITICAL:engine.child:no library for {ANN}", file=sys.stderr)  # noqa: T201
    sys.exit(3)


def other_version(engine: Engine) -> None:
    engine.hello(protocol=99)
    silent(engine)


def no_hello(engine: Engine) -> None:
    engine.say(BEAT)
    silent(engine)


def garbage(engine: Engine) -> None:
    engine.hello()
    engine.socket.sendall(b"\x00\x00\x00\x04\xff\xff\xff\xff")
    silent(engine)


def oversized(engine: Engine) -> None:
    engine.hello()
    engine.socket.sendall(b"\x7f\xff\xff\xff")
    silent(engine)


def heartless(engine: Engine) -> None:
    """Says hello, then nothing, and does not listen to SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    engine.hello()
    silent(engine)


def speechless(engine: Engine) -> None:
    """Lives, but answers nothing."""
    engine.hello()
    engine.live()


def unasked(engine: Engine) -> None:
    engine.hello()
    engine.say(Done(id=999))
    silent(engine)


def misanswers(engine: Engine) -> None:
    """Answers whatever comes with Done."""
    engine.hello()
    threading.Thread(target=engine.live, daemon=True).start()
    engine.socket.recv(65536)
    engine.say(Done(id=1))
    silent(engine)


def hangs_up(engine: Engine) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    engine.hello()
    engine.socket.shutdown(socket.SHUT_RDWR)
    silent(engine)


def panics(engine: Engine) -> None:
    engine.hello()
    engine.say(Connected(jid="a"))
    os.write(2, GO_PANIC.encode())
    os._exit(2)


def chatters(engine: Engine) -> None:
    """Prints 20 MB, half of it without a newline, before it says anything else."""
    engine.hello()
    for _ in range(10):
        os.write(2, b"INFO:whatsmeow.Client:so many words\n" * 30_000)
        os.write(1, b"x" * 1_000_000)
    engine.say(Connected(jid="a"))
    engine.live()


WAYS: dict[str, Callable[[Engine], None]] = {
    way.__name__: way
    for way in (
        *(silent, exits, other_version, no_hello, garbage, oversized, heartless),
        *(speechless, unasked, misanswers, hangs_up, panics, chatters),
    )
}

if __name__ == "__main__":
    WAYS[sys.argv[1]](Engine(int(sys.argv[3])))

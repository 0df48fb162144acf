"""What the engine learned of sends, in a file before its parent is told.

WhatsApp says once that it has a message, and once that a phone has it: whatsmeow takes an acknowledgement,
and answers a receipt, before anybody else has seen it (send.go, receipt.go). A service that is killed before
it has written that down would have to guess, and send some messages twice. So the engine notes both, and the
next life of the service reads the notes first. They are meant against a killed process and are not fsynced:
after a power failure an outcome is as unknown as without them.
"""

import logging
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from service.engine.protocol import Frame, Receipt, encode

log = logging.getLogger("engine.notebook")

PAGE_BYTES: Final = 256 * 1024
"""Notes fill one file up to this size, then the other: about 1,300 receipts each. What is still of use when
a service is killed are the last few seconds of them."""

_LENGTH: Final = struct.Struct(">I")


class Acknowledged(Frame, frozen=True, tag="acknowledged"):
    """WhatsApp has the message that was sent with this secret. `timestamp` is the server's, Unix seconds."""

    secret: bytes
    message_id: str
    timestamp: float


Note: TypeAlias = Acknowledged | Receipt

_NOTES: Final = msgspec.msgpack.Decoder(Note)


class Notebook:
    """Two files beside the session database. One process writes, on any of its threads; another reads when
    that one is gone."""

    def __init__(self, session: Path) -> None:
        self._path = session.with_suffix(".notes")
        self._full = session.with_suffix(".notes.1")
        self._descriptor: int | None = None
        self._size = 0
        self._lock = threading.Lock()

    def write(self, note: Note) -> None:
        """Note it. When that is not possible it is logged, and nothing else is different."""
        data = encode(note)
        try:
            with self._lock:
                self._append(data)
        except OSError as error:
            log.warning("what was learned of a send could not be noted: %s", error.strerror)

    def read(self) -> list[Note]:
        """All notes, earliest first; a note that was cut off by the end of its writer is none.

        Raises OSError.
        """
        return [note for path in (self._full, self._path) for note in _notes(path)]

    def clear(self) -> None:
        """Forget all notes. Only while nobody writes."""
        for path in (self._full, self._path):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _append(self, data: bytes) -> None:
        if self._size + len(data) > PAGE_BYTES:
            self._turn()
        if self._descriptor is None:
            self._open()
        assert self._descriptor is not None
        os.write(self._descriptor, data)
        self._size += len(data)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._descriptor).st_size

    def _turn(self) -> None:
        self.close()
        self._size = 0
        with suppress(FileNotFoundError):
            self._path.replace(self._full)


def _notes(path: Path) -> Iterator[Note]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    at = 0
    while at + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        try:
            yield _NOTES.decode(data[at : at + length])
        except msgspec.DecodeError:
            return
        at += length

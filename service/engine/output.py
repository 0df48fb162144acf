"""What the engine prints, as records: lines with their level, and tracebacks kept whole.

Go prints to stdout and stderr as it likes, and dies with a traceback that runs to the end of the stream;
Python's tracebacks end with the line that names the error. Everything is bounded and redacted.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from service.engine.redact import redact

MAX_LINE_BYTES: Final = 8192
MAX_TRACEBACK_LINES: Final = 400

_LOGGED: Final = re.compile(
    r"(DEBUG|INFO|WARNING|ERROR|CRITICAL):([\w.-]*)(?:\[(00(?:-[0-9a-f]+){3})\])?:(.*)", re.DOTALL
)
_GO: Final = re.compile(r"panic: |fatal error: |unexpected fault address |SIG[A-Z]+: ")
_FAULT: Final = re.compile(r"Fatal Python error: ")
_PYTHON: Final = re.compile(r"(\s*\+ Exception Group )?Traceback \(most recent call last\):")
_CHATTER: Final = frozenset({"Press Ctrl+C to exit"})  # neonize says so at every connect


class Stream(StrEnum):
    """Where a line was written."""

    STDOUT = "stdout"
    STDERR = "stderr"


class TracebackKind(StrEnum):
    """Who printed a traceback."""

    GO = "go"
    PYTHON = "python"
    FAULT = "fault"  # Python's faulthandler


@dataclass(frozen=True, slots=True)
class Line:
    """A line, with the level and logger that it names or ones that fit, and the W3C traceparent of the send
    under way when it was written."""

    level: str
    logger: str
    text: str
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Traceback:
    """A whole traceback. `headline` is the line that names the error."""

    kind: TracebackKind
    headline: str
    text: str


class Transcript:
    """Turns the bytes of one stream into records, whatever the pieces they come in."""

    def __init__(self) -> None:
        self._rest = b""
        self._cut = 0
        self._block: list[str] = []
        self._block_kind: TracebackKind | None = None
        self._group = False
        self.lines = 0

    def feed(self, data: bytes) -> Iterator[Line | Traceback]:
        """The records that are complete with these bytes."""
        *whole, rest = data.split(b"\n")
        for piece in whole:
            yield from self._line(self._take(piece))
        self._rest, self._cut = self._bounded(self._rest + rest, self._cut)

    def end(self) -> Iterator[Line | Traceback]:
        """The records that the end of the stream completes."""
        if self._rest or self._cut:
            yield from self._line(self._take(b""))
        yield from self._close_block()

    def _take(self, piece: bytes) -> str:
        line, cut = self._bounded(self._rest + piece, self._cut)
        self._rest, self._cut = b"", 0
        text = line.decode(errors="replace").rstrip("\r")
        return f"{text} … {cut} bytes cut" if cut else text

    @staticmethod
    def _bounded(line: bytes, cut: int) -> tuple[bytes, int]:
        return line[:MAX_LINE_BYTES], cut + max(0, len(line) - MAX_LINE_BYTES)

    def _line(self, text: str) -> Iterator[Line | Traceback]:
        self.lines += 1
        if self._block_kind is None:
            yield from self._outside(text)
        elif self._block_kind is TracebackKind.PYTHON:
            yield from self._inside_python(text)
        else:  # Go and faulthandler end with the process
            self._keep(text)

    def _outside(self, text: str) -> Iterator[Line | Traceback]:
        if _GO.match(text):
            self._open(TracebackKind.GO, text)
        elif _FAULT.match(text):
            self._open(TracebackKind.FAULT, text)
        elif start := _PYTHON.match(text):
            self._open(TracebackKind.PYTHON, text)
            self._group = start[1] is not None
        elif logged := _LOGGED.fullmatch(text):
            yield Line(logged[1].lower(), logged[2], redact(logged[4]), logged[3])
        elif text.strip():
            yield Line("debug" if text in _CHATTER else "info", "", redact(text))

    def _inside_python(self, text: str) -> Iterator[Line | Traceback]:
        if text[:1].isspace() or not text:
            self._keep(text)
        elif self._group:
            yield from self._close_block()
            yield from self._outside(text)
        else:
            self._keep(text)
            yield from self._close_block()

    def _open(self, kind: TracebackKind, text: str) -> None:
        self._block_kind, self._block, self._group = kind, [text], False

    def _keep(self, text: str) -> None:
        """Keep the head, where the cause is, and the last line, where Python names it."""
        if len(self._block) >= MAX_TRACEBACK_LINES:
            self._block.pop()
        self._block.append(text)

    def _close_block(self) -> Iterator[Traceback]:
        if self._block_kind is not None:
            python = self._block_kind is TracebackKind.PYTHON and not self._group
            headline = self._block[-1 if python else 0]
            yield Traceback(
                self._block_kind, redact(headline.strip()), "\n".join(redact(line) for line in self._block)
            )
            self._block_kind, self._block = None, []

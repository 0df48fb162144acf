"""What an engine prints becomes lines with a level, and whole tracebacks, however it is cut into pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.output import (
    MAX_LINE_BYTES,
    MAX_TRACEBACK_LINES,
    Line,
    Traceback,
    TracebackKind,
    Transcript,
)
from tests.people import ANN

GO_PANIC = """\
panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x7f]

goroutine 17 [running, locked to thread]:
main.GetMe(0x7f)
\t/home/runner/goneonize/main.go:2303 +0x1d
"""

PYTHON_TRACEBACK = f"""\
ERROR:engine.client:an event could not be handled
Traceback (most recent call last):
  File "client.py", line 1, in guarded
    handler(event)
KeyError: '{ANN}'
INFO:whatsmeow.Client:and on it goes
"""

FAULT = """\
Fatal Python error: Segmentation fault

Current thread 0x00007f (most recent call first):
  File "client.py", line 1 in call
"""

EXCEPTION_GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "x.py", line 1, in <module>
  | ExceptionGroup: two (1 sub-exception)
  +-+---------------- 1 ----------------
    | ValueError: one
    +------------------------------------
WARNING:root:after it
"""


def read(*pieces: bytes) -> list[Line | Traceback]:
    transcript = Transcript()
    records = [record for piece in pieces for record in transcript.feed(piece)]
    return [*records, *transcript.end()]


@pytest.mark.parametrize(
    ("printed", "level", "logger", "text"),
    [
        ("WARNING:whatsmeow.Client:Got 503", "warning", "whatsmeow.Client", "Got 503"),
        (f"INFO:whatsmeow.Client:Paired {ANN}:3@s", "info", "whatsmeow.Client", "Paired #:3@s"),
        (f"Error sending message: {ANN}", "info", "", "Error sending message: #"),
        ("Press Ctrl+C to exit", "debug", "", "Press Ctrl+C to exit"),
        ("no newline at the end", "info", "", "no newline at the end"),
    ],
)
def test_a_line_has_its_level_and_nobodys_number(printed: str, level: str, logger: str, text: str) -> None:
    assert read(printed.encode()) == [Line(level, logger, text)]


def test_a_go_panic_is_one_record_to_its_end() -> None:
    assert read(GO_PANIC.encode()) == [
        Traceback(TracebackKind.GO, GO_PANIC.splitlines()[0], GO_PANIC.strip())
    ]


def test_a_fault_of_python_is_one_record_to_its_end() -> None:
    assert read(FAULT.encode()) == [
        Traceback(TracebackKind.FAULT, "Fatal Python error: Segmentation fault", FAULT.strip())
    ]


def test_a_python_traceback_ends_with_the_line_that_names_the_error() -> None:
    before, traceback, after = read(PYTHON_TRACEBACK.encode())

    assert before == Line("error", "engine.client", "an event could not be handled")
    assert isinstance(traceback, Traceback)
    assert (traceback.kind, traceback.headline) == (TracebackKind.PYTHON, "KeyError: '#'")
    assert ANN not in traceback.text
    assert after == Line("info", "whatsmeow.Client", "and on it goes")


def test_an_exception_group_is_one_record() -> None:
    traceback, after = read(EXCEPTION_GROUP.encode())

    assert isinstance(traceback, Traceback)
    assert traceback.text == EXCEPTION_GROUP.rpartition("WARNING")[0].rstrip()
    assert after == Line("warning", "root", "after it")


@given(st.data())
def test_the_pieces_do_not_matter(data: st.DataObject) -> None:
    whole = (PYTHON_TRACEBACK + "über alles\n" + GO_PANIC).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    assert read(*pieces) == read(whole)


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_any_bytes_are_read(pieces: list[bytes]) -> None:
    read(*pieces)


def test_a_line_without_end_is_kept_to_its_limit() -> None:
    piece = b"x" * 1000
    (line,) = read(*[piece] * 100)

    assert isinstance(line, Line)
    assert line.text == "x" * MAX_LINE_BYTES + f" … {100_000 - MAX_LINE_BYTES} bytes cut"


def test_a_traceback_without_end_is_kept_to_its_limit() -> None:
    (traceback,) = read(b"panic: all of it\n" + b"goroutine\n" * 5000 + b"last\n")

    assert isinstance(traceback, Traceback)
    assert len(traceback.text.splitlines()) == MAX_TRACEBACK_LINES
    assert traceback.text.splitlines()[-1] == "last"

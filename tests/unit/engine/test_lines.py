"""What the engine writes can be read back by the service: level, logger, text, and of which send."""

import io
import logging
from collections.abc import Iterator

import pytest

from service.engine.lines import log_to_stderr, sending
from service.engine.output import Line, Transcript

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where an engine's log goes, while the test runs."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    log_to_stderr(stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def read(stream: io.StringIO) -> list[object]:
    return list(Transcript().feed(stream.getvalue().encode()))


def test_a_line_is_read_back_as_it_was_written(stream: io.StringIO) -> None:
    logging.getLogger("whatsmeow.Client").warning("first\nsecond \\ [%s]", "x")
    assert read(stream) == [Line("warning", "whatsmeow.Client", "first\\nsecond \\\\ [x]")]


def test_while_a_send_is_under_way_lines_belong_to_it(stream: io.StringIO) -> None:
    log = logging.getLogger("engine.server")
    with sending(TRACEPARENT):
        log.info("within")
    with sending(None):
        log.info("of a send that nobody traces")
    log.info("after")
    within, untraced, after = read(stream)
    assert within == Line("info", "engine.server", "within", TRACEPARENT)
    assert untraced == Line("info", "engine.server", "of a send that nobody traces")
    assert after == Line("info", "engine.server", "after")

"""The lines that the engine writes to stderr, as the service reads them back (output.py).

`LEVEL:logger:message`; while a send is under way `LEVEL:logger[traceparent]:message`, so that the service can
say of which. One send at a time is, and Go writes from threads of its own: what is written meanwhile is told
together with it, whoever writes, unless it names another (`extra={"traceparent": ...}`).
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class _OneLine(logging.Formatter):
    """Newlines of the message are escaped, so that the parent can tell lines apart; a traceback follows as
    Python prints it."""

    def __init__(self) -> None:
        super().__init__()
        self.traceparent: str | None = None

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        message = record.message.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        traceparent = getattr(record, "traceparent", self.traceparent)
        sending = f"[{traceparent}]" if traceparent else ""
        return f"{record.levelname}:{record.name}{sending}:{message}"


_FORMAT = _OneLine()


def log_to_stderr(stream: TextIO = sys.stderr) -> None:
    """Have the standard library's root logger write such lines."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_FORMAT)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


@contextmanager
def sending(traceparent: str | None) -> Iterator[None]:
    """What is written within belongs to that span."""
    _FORMAT.traceparent = traceparent
    try:
        yield
    finally:
        _FORMAT.traceparent = None

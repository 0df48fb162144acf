"""One log line is one event with fields: JSON for machines, colours on a terminal.

What the standard library logs (aiohttp, asyncio) goes the same way. Lines carry the ids of the current
trace (OpenTelemetry, "Trace Context in non-OTLP Log Formats"). Logs go to stderr; stdout is for people.

Each message that is sent writes a line, so a line is made in few steps: one processor where structlog has
eight, bytes from the encoder to the file. It is still written at once and whole: a process that is killed
loses none.
"""

import logging
import re
import sys
import time
from functools import cache, lru_cache, partial
from typing import Any, Final, TextIO

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter
from structlog.contextvars import merge_contextvars
from structlog.processors import format_exc_info
from structlog.typing import BindableLogger, EventDict, Processor, WrappedLogger

from service.config import LogFormat, LogLevel
from service.telemetry.current import current_span
from service.telemetry.ids import Ids

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_LONG_NUMBER: Final = re.compile(r"\d{7,}")
_JSON: Final = msgspec.json.Encoder(enc_hook=repr)


def configure(log_format: LogFormat, level: LogLevel, *, stream: TextIO = sys.stderr) -> None:
    """Set up structlog and the standard library's root logger. May be called again."""
    console = log_format is LogFormat.CONSOLE or (log_format is LogFormat.AUTO and stream.isatty())
    as_text: Processor = structlog.dev.ConsoleRenderer(colors=stream.isatty()) if console else _json_text
    in_bytes = not console and hasattr(stream, "buffer")
    structlog.configure(  # straight to the stream: a line through the standard library costs twice as much
        processors=[_complete, _json if in_bytes else as_text],
        logger_factory=cache(partial(_Bytes if in_bytes else _Text, stream)),
        wrapper_class=_logger_from(level),
        cache_logger_on_first_use=False,  # a test, or a command, may want them otherwise after the first line
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_complete],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, as_text],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.value.upper())


def _logger_from(level: LogLevel) -> type[BindableLogger]:
    """structlog's own logger of lines from that level on, which copies a line's fields once less."""

    class Logger(structlog.make_filtering_bound_logger(level.value)):  # type: ignore[misc]
        def _proxy_to_logger(self, method_name: str, event: str | None = None, **fields: Any) -> None:
            line: Any = self._context | fields if self._context else fields
            line["event"] = event
            try:
                for step in self._processors:
                    line = step(self._logger, method_name, line)
            except structlog.DropEvent:
                return
            getattr(self._logger, method_name)(line)

    return Logger


class _Text(structlog.WriteLogger):
    """Writes whole lines under a lock; named as the module that logs."""

    def __init__(self, stream: TextIO, name: str = "beacon") -> None:
        super().__init__(stream)
        self.name = name


class _Bytes:
    """The same for lines that are bytes already. The file's buffer takes each whole, and keeps none."""

    __slots__ = ("_flush", "_write", "name")

    def __init__(self, stream: TextIO, name: str = "beacon") -> None:
        self.name = name
        self._write, self._flush = stream.buffer.write, stream.buffer.flush

    def line(self, line: bytes) -> None:
        self._write(line)
        self._flush()

    debug = info = warning = error = critical = line


def _json(_: WrappedLogger, __: str, event: EventDict) -> bytes:
    return _JSON.encode(event) + b"\n"


def _json_text(_: WrappedLogger, __: str, event: EventDict) -> str:
    return _JSON.encode(event).decode()


class LogMetrics:
    """How many lines were written, by level."""

    def __init__(self, registry: CollectorRegistry, account: str) -> None:
        counter = Counter(
            "whatsapp_log_messages", "Log lines written.", ["account", "level"], registry=registry
        )
        self.by_level = {level: counter.labels(account, level) for level in _LEVELS}


_metrics: LogMetrics | None = None


def count_into(metrics: LogMetrics | None) -> None:
    """Count lines into these metrics from now on (a process has one log)."""
    global _metrics  # noqa: PLW0603 - the standard library's logging is one for the process as well
    _metrics = metrics


def _complete(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """What a line says beside what its caller says, and nothing that it must not say."""
    event = merge_contextvars(logger, method, event)
    record = event.get("_record")  # of the standard library
    event["level"] = method
    event["logger"] = logger.name if record is None else record.name
    event["timestamp"] = _stamp()
    if "exc_info" in event:
        event = format_exc_info(logger, method, event)  # plain frames: locals would show what people wrote
    context = current_span().get_span_context()
    if context.is_valid:
        event["trace_id"], event["span_id"] = Ids.of(context).written
        event["trace_flags"] = int(context.trace_flags)
    if isinstance(text := event["event"], str):
        event["event"] = _without_numbers(text)
    if isinstance(text := event.get("exception"), str):
        event["exception"] = _LONG_NUMBER.sub("#", text)
    if _metrics is not None and (counter := _metrics.by_level.get(method)) is not None:
        counter.inc()
    return event


@lru_cache(256)  # nearly all are names of events
def _without_numbers(text: str) -> str:
    """Other libraries' sentences may quote a phone number, as exceptions may; it must not stay in them."""
    return _LONG_NUMBER.sub("#", text)


class _Stamp:
    """The time in UTC after ISO 8601, to the microsecond. What a second is called is kept while it lasts."""

    def __init__(self) -> None:
        self._second = (-1, "")

    def __call__(self) -> str:
        now = time.time()
        second = int(now)
        known, called = self._second
        if second != known:
            called = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second, called  # together: another thread may be asking
        return "%s.%06dZ" % (called, (now - second) * 1e6)  # noqa: UP031 - the quickest, by a fifth


_stamp: Final = _Stamp()

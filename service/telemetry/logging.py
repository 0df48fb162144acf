"""One log line is one event with fields: JSON for machines, colours on a terminal.

What the standard library logs (aiohttp, asyncio) goes the same way. Lines carry the ids of the current
trace (OpenTelemetry, "Trace Context in non-OTLP Log Formats"). Logs go to stderr; stdout is for people.
"""

import logging
import re
import sys
from typing import Any, TextIO

import msgspec
import structlog
from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter
from structlog.typing import EventDict, Processor, WrappedLogger

from service.config import LogFormat, LogLevel

_LEVELS = ("debug", "info", "warning", "error", "critical")
_LONG_NUMBER = re.compile(r"\d{7,}")


def configure(log_format: LogFormat, level: LogLevel, *, stream: TextIO = sys.stderr) -> None:
    """Set up structlog and the standard library's root logger. May be called again."""
    console = log_format is LogFormat.CONSOLE or (log_format is LogFormat.AUTO and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,  # plain frames: locals would show what people wrote
        _trace_ids,
        _hide_numbers,
        _count,
    ]
    last: Processor = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty())
        if console
        else structlog.processors.JSONRenderer(serializer=_json)
    )
    structlog.configure(  # straight to the stream: a line through the standard library costs twice as much
        processors=[*shared, last],
        logger_factory=lambda name="beacon": _Writer(name, stream),
        wrapper_class=structlog.make_filtering_bound_logger(level.value),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.value.upper())


class _Writer(structlog.WriteLogger):
    """Writes whole lines under a lock; named as the module that logs."""

    def __init__(self, name: str, stream: TextIO) -> None:
        super().__init__(stream)
        self.name = name


def _json(event: EventDict, **options: Any) -> str:
    return msgspec.json.encode(event, enc_hook=options["default"]).decode()


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


def _count(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
    if _metrics is not None:
        level = event.get("level", method)
        if level in _metrics.by_level:
            _metrics.by_level[level].inc()
    return event


def _trace_ids(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
        event["trace_flags"] = int(context.trace_flags)
    return event


def _hide_numbers(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Other libraries' sentences and exceptions may quote a phone number; it must not stay in them."""
    for key in ("event", "exception"):
        if isinstance(text := event.get(key), str):
            event[key] = _LONG_NUMBER.sub("#", text)
    return event

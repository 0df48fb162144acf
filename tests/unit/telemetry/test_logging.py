"""A log line is one event with fields; numbers and locals stay out of it."""

import io
import json
import logging as stdlib
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from service.config import LogFormat, LogLevel
from service.telemetry import logging


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = stdlib.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logging.configure(LogFormat.JSON, LogLevel.INFO, stream=stream)
    yield stream
    logging.count_into(None)
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def written(lines: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_its_fields(lines: io.StringIO) -> None:
    structlog.get_logger("queue").info("message.sent", message="m-1", wait_s=0.42)
    (line,) = written(lines)
    assert {key: line[key] for key in ("event", "level", "logger", "message", "wait_s")} == {
        "event": "message.sent",
        "level": "info",
        "logger": "queue",
        "message": "m-1",
        "wait_s": 0.42,
    }


def test_other_libraries_log_the_same_way_without_phone_numbers(lines: io.StringIO) -> None:
    stdlib.getLogger("aiohttp").warning("bad request for +%s", "12025550101")
    (line,) = written(lines)
    assert line["event"] == "bad request for +#"
    assert line["level"] == "warning"


def test_an_exception_shows_its_frames_but_no_locals_and_no_numbers(lines: io.StringIO) -> None:
    text = "the text that somebody wrote"
    try:
        raise ValueError("12025550101")
    except ValueError:
        structlog.get_logger().exception("send.failed", length=len(text))
    (line,) = written(lines)
    assert "test_logging.py" in line["exception"]
    assert text not in lines.getvalue()
    assert "12025550101" not in lines.getvalue()


def test_a_line_inside_a_span_carries_its_ids(lines: io.StringIO) -> None:
    with (
        TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("send direct") as span
    ):
        structlog.get_logger().info("message.sent")
    (line,) = written(lines)
    context = span.get_span_context()
    assert line["trace_id"] == f"{context.trace_id:032x}"
    assert line["span_id"] == f"{context.span_id:016x}"


def test_lines_are_counted_by_level(lines: io.StringIO) -> None:
    registry = CollectorRegistry()
    logging.count_into(logging.LogMetrics(registry, "test"))
    structlog.get_logger().warning("once")
    stdlib.getLogger("other").warning("twice")
    structlog.get_logger().debug("below the level")
    count = {
        level: registry.get_sample_value("whatsapp_log_messages_total", {"account": "test", "level": level})
        for level in ("debug", "warning", "error")
    }
    assert count == {"debug": 0, "warning": 2, "error": 0}

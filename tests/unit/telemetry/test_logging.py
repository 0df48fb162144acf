"""A log line is one event with fields; numbers and locals stay out of it."""

import io
import json
import logging as stdlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from prometheus_client import CollectorRegistry

from service.config import LogFormat, LogLevel
from service.telemetry import logging
from service.telemetry.recording import Provider
from service.telemetry.within import within


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


def test_what_every_line_says_stands_behind_what_its_caller_says(lines: io.StringIO) -> None:
    with within(Provider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("t").start_span("s")):
        structlog.get_logger("queue").info("message.sent", message="m-1")
    (line,) = written(lines)
    assert list(line) == [
        "message",
        "event",
        "level",
        "logger",
        "timestamp",
        "trace_id",
        "span_id",
        "trace_flags",
    ]


def test_lines_of_a_context_and_of_a_logger_say_what_was_bound_to_them(lines: io.StringIO) -> None:
    log = structlog.get_logger("queue").bind(shard=1)
    with structlog.contextvars.bound_contextvars(tenant="a", shard=2):
        log.warning("slow")
    log.warn("over")
    first, second = written(lines)
    assert (first["shard"], first["tenant"], first["level"]) == (1, "a", "warning")
    assert (second["shard"], second["level"]) == (1, "warning")
    assert "tenant" not in second


def test_a_line_tells_when_it_was_written(lines: io.StringIO) -> None:
    before = datetime.now(UTC)
    for _ in range(50):
        structlog.get_logger().info("tick")
    after = datetime.now(UTC)
    told = [datetime.fromisoformat(line["timestamp"]) for line in written(lines)]
    assert told == sorted(told)
    assert before - timedelta(microseconds=1) <= told[0] <= told[-1] <= after
    assert all(len(line["timestamp"]) == len("2026-01-01T00:00:00.000000Z") for line in written(lines))


def test_what_json_has_no_form_for_is_told_as_python_writes_it(lines: io.StringIO) -> None:
    structlog.get_logger().info("odd", where=Path("a"), what=range(2), text="\u00e9\n")
    (line,) = written(lines)
    assert (line["what"], line["text"]) == ("range(0, 2)", "\u00e9\n")


def test_a_line_is_in_the_file_as_soon_as_it_is_written_and_in_one_piece(tmp_path: Path) -> None:
    """A process that is killed loses none; threads do not write into each other's lines."""
    path = tmp_path / "log"
    root = stdlib.getLogger()
    handlers, level = root.handlers[:], root.level
    with path.open("w") as stream:
        logging.configure(LogFormat.JSON, LogLevel.INFO, stream=stream)
        try:
            structlog.get_logger("ours").info("first", long="x" * 100_000)
            stdlib.getLogger("theirs").warning("second")
            assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == [
                "first",
                "second",
            ]
            threads = [threading.Thread(target=_write_many, args=(name,)) for name in "abcd"]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            root.handlers[:], root.level = handlers, level
            structlog.reset_defaults()
        assert sum("many" in json.loads(line)["event"] for line in path.read_text().splitlines()) == 4 * 100


def _write_many(name: str) -> None:
    for at in range(50):
        structlog.get_logger(name).info("many", at=at, filler="x" * (at * 400))
        stdlib.getLogger(name).warning("many %d", at)


def test_a_terminal_s_lines_are_for_people(lines: io.StringIO) -> None:
    logging.configure(LogFormat.CONSOLE, LogLevel.INFO, stream=lines)
    structlog.get_logger("queue").info("message.sent", message="m-1")
    stdlib.getLogger("aiohttp").warning("bad request for +%s", "12025550101")
    ours, theirs = lines.getvalue().splitlines()
    assert "message.sent" in ours
    assert "message=m-1" in ours
    assert "[queue]" in ours
    assert "bad request for +#" in theirs

"""The engine's stdout and stderr on their way into the log, never slower than the engine writes."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

import structlog
from opentelemetry import trace

from service.clock import Clock
from service.engine.metrics import EngineMetrics
from service.engine.output import Line, Stream, Traceback, Transcript
from service.telemetry.exemplar import span_of

log = structlog.get_logger(__name__)

LINES_PER_SECOND: Final = 100
"""More lines than this are counted and not logged."""

_STREAMS: Final = {1: Stream.STDOUT, 2: Stream.STDERR}


class Pipes(asyncio.SubprocessProtocol):
    """asyncio's callbacks for a child process; `exited` and `closed` are set once each."""

    def __init__(self, *, metrics: EngineMetrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._transcripts = {fd: Transcript() for fd in _STREAMS}
        self._second = clock.monotonic()
        self._logged = 0
        self._suppressed = 0
        self._last_words = ""
        self.traceback: Traceback | None = None
        self.exited = asyncio.Event()
        self.closed = asyncio.Event()

    @property
    def last_words(self) -> str:
        """The headline of the last traceback, else the last line of stderr: why it ended, if it said so."""
        return self.traceback.headline if self.traceback else self._last_words

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._write(fd, self._transcripts[fd].feed(data))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        if fd in self._transcripts:
            self._write(fd, self._transcripts[fd].end())

    def process_exited(self) -> None:
        self.exited.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._tell_suppressed()
        self.closed.set()

    def _write(self, fd: int, records: Iterable[Line | Traceback]) -> None:
        stream, transcript = _STREAMS[fd], self._transcripts[fd]
        before = transcript.lines
        for record in records:
            match record:
                case Line():
                    self._write_line(stream, record)
                case Traceback():
                    self._write_traceback(stream, record)
        self._metrics.output_lines[stream].inc(transcript.lines - before)

    def _write_line(self, stream: Stream, line: Line) -> None:
        if stream is Stream.STDERR:
            self._last_words = line.text
        if self._clock.monotonic() - self._second >= 1.0:
            self._tell_suppressed()
            self._second, self._logged = self._clock.monotonic(), 0
        if self._logged >= LINES_PER_SECOND:
            self._suppressed += 1
            self._metrics.output_lines_suppressed.inc()
            return
        self._logged += 1
        level = logging.getLevelNamesMapping()[line.level.upper()]
        with trace.use_span(span_of(line.traceparent)):
            log.log(level, "engine.output", stream=stream.value, source=line.logger, text=line.text)

    def _write_traceback(self, stream: Stream, traceback: Traceback) -> None:
        self.traceback = traceback
        self._metrics.tracebacks[traceback.kind].inc()
        log.error(
            "engine.traceback",
            stream=stream.value,
            kind=traceback.kind.value,
            headline=traceback.headline,
            text=traceback.text,
        )

    def _tell_suppressed(self) -> None:
        if self._suppressed:
            log.warning("engine.output_suppressed", lines=self._suppressed)
            self._suppressed = 0

"""One request to an OTLP receiver, and what its answer means (OTLP specification, "OTLP/HTTP")."""

import gzip
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

import service
from service.telemetry.push.metrics import Exported, Signal
from service.telemetry.push.settings import Receiver

RETRYABLE: Final = frozenset({429, 502, 503, 504})
PROTOBUF: Final = "application/x-protobuf"
MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_WORDS: Final = 200
GZIP_LEVEL: Final = 1
"""Spans repeat themselves: level 6 takes four times as long and leaves no less (18 kB of 175, both)."""
MAX_RETRY_AFTER_S: Final = 600.0
"""Nobody may silence us for longer with one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How an export ended."""

    exported: Exported
    words: str = ""
    """For people: the status, the kind of error, or what the receiver said of what it did not take."""
    rejected: int = 0
    """Spans or points that it did not take."""
    retry_after_s: float | None = None


class Sender:
    """Sends to one receiver. Its headers are secrets and are never shown."""

    def __init__(self, receiver: Receiver, signal: Signal, *, now: Callable[[], float]) -> None:
        self._receiver = receiver
        self._signal = signal
        self._now = now
        self._http: aiohttp.ClientSession | None = None
        self._headers = {"User-Agent": f"beacon/{service.__version__}", **receiver.headers}
        self._headers["Content-Type"] = PROTOBUF
        if receiver.gzip:
            self._headers["Content-Encoding"] = "gzip"

    def pack(self, body: bytes) -> bytes:
        """The body as it travels. Takes a while; any thread may do it."""
        return gzip.compress(body, compresslevel=GZIP_LEVEL) if self._receiver.gzip else body

    async def send(self, packed: bytes) -> Answer:
        """One attempt. A redirect is not followed: the headers are for this receiver alone."""
        try:
            async with self._session().post(
                self._receiver.url, data=packed, headers=self._headers, allow_redirects=False
            ) as response:
                return await self._read(response)
        except TimeoutError as error:
            return Answer(exported=Exported.TIMEOUT, words=type(error).__name__)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: a host that cannot be one
            return Answer(exported=Exported.UNREACHABLE, words=type(error).__name__)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._receiver.timeout_s),
                connector=aiohttp.TCPConnector(
                    ssl=True if self._receiver.tls is None else self._receiver.tls
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=True,  # HTTPS_PROXY, as every OpenTelemetry SDK
            )
        return self._http

    async def _read(self, response: aiohttp.ClientResponse) -> Answer:
        status = str(response.status)
        if response.status in RETRYABLE:
            after = retry_after_s(response.headers.get("Retry-After"), now=self._now())
            return Answer(exported=Exported.BUSY, words=status, retry_after_s=after)
        if not 200 <= response.status < 300:
            return Answer(exported=Exported.REFUSED, words=status)
        rejected, words = self._partial(await response.content.read(MAX_ANSWER_BYTES))
        if rejected:
            return Answer(exported=Exported.PARTIAL, words=words[:MAX_WORDS], rejected=rejected)
        return Answer(exported=Exported.ACCEPTED, words=words[:MAX_WORDS] or status)

    def _partial(self, body: bytes) -> tuple[int, str]:
        """How much was not taken, and why; what cannot be read says nothing."""
        with suppress(DecodeError):
            if self._signal is Signal.METRICS:
                metrics = ExportMetricsServiceResponse.FromString(body).partial_success
                return metrics.rejected_data_points, metrics.error_message
            traces = ExportTraceServiceResponse.FromString(body).partial_success
            return traces.rejected_spans, traces.error_message
        return 0, ""


def retry_after_s(header: str | None, *, now: float) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110 section 10.2.3): a number of them, or a date."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_RETRY_AFTER_S)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - now
    except ValueError:
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)

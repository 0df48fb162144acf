"""Where traces and metrics go: OpenTelemetry's own variables, read as its specification says.

"OpenTelemetry Protocol Exporter", "Environment Variable Specification" and "Metrics SDK environment
variables". A value that cannot be used is told and left out, as the specification asks: no delivery waits
for telemetry to be set up well. Two things are ours. Without an endpoint nothing is sent. And a New Relic
endpoint gets what New Relic asks for, unless said otherwise: the key that Heroku's add-on has put into
NEW_RELIC_LICENSE_KEY as its header, and deltas.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from service.telemetry.push.metrics import Signal
from service.telemetry.push.translate import Temporality

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
ENDPOINTS: Final = (ENDPOINT, *(f"OTEL_EXPORTER_OTLP_{signal.name}_ENDPOINT" for signal in Signal))
LICENSE_KEY: Final = "NEW_RELIC_LICENSE_KEY"
NEW_RELIC: Final = "nr-data.net"
PREFERENCE: Final = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
PREFERENCES: Final = {
    "cumulative": Temporality.CUMULATIVE,
    "delta": Temporality.DELTA,
    "lowmemory": Temporality.DELTA,  # what only grows is sent as delta, and that is all we have
}

SECRET_VARIABLES: Final = frozenset(
    {
        LICENSE_KEY,
        *ENDPOINTS,
        "OTEL_EXPORTER_OTLP_HEADERS",
        *(f"OTEL_EXPORTER_OTLP_{signal.name}_HEADERS" for signal in Signal),
    }
)
"""What nobody else must see; an endpoint may hold a password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Where one signal goes, and how."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    timeout_s: float
    gzip: bool
    tls: ssl.SSLContext | None
    """For https; None for http."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushSettings:
    """What is pushed where; nothing, unless an endpoint is set."""

    traces: Receiver | None
    metrics: Receiver | None
    temporality: Temporality
    interval_s: float
    """From one export of metrics to the next."""
    span_delay_s: float
    """How long a span waits for others, at most."""
    span_queue: int
    """Spans that are kept, at most."""
    span_batch: int
    """Spans in one request, at most."""
    notes: tuple[str, ...]
    """What was set and is not done, a sentence each; without values, which may be secrets."""


def read(environ: Mapping[str, str]) -> PushSettings:
    """The settings from these variables."""
    variables = _Variables(environ)
    traces, metrics = variables.receiver(Signal.TRACES), variables.receiver(Signal.METRICS)
    queue = variables.whole("OTEL_BSP_MAX_QUEUE_SIZE", 2048)
    return PushSettings(
        traces=traces,
        metrics=metrics,
        temporality=variables.temporality(metrics),
        interval_s=variables.whole("OTEL_METRIC_EXPORT_INTERVAL", 60_000, least=1000) / 1000,
        span_delay_s=variables.whole("OTEL_BSP_SCHEDULE_DELAY", 5000) / 1000,
        span_queue=queue,
        span_batch=min(queue, variables.whole("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)),
        notes=tuple(variables.notes) if variables.wanted else (),
    )


class _Variables:
    """The environment, and what is wrong with it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.notes: list[str] = []

    @property
    def wanted(self) -> bool:
        """Whether anybody said where to."""
        return any(self._get(name) for name in ENDPOINTS)

    def receiver(self, signal: Signal) -> Receiver | None:
        """Where this signal goes; None when it goes nowhere."""
        if self._get("OTEL_SDK_DISABLED").lower() == "true":
            return None
        chosen = f"OTEL_{signal.name}_EXPORTER"
        if (exporter := self._get(chosen)) and "otlp" not in exporter.split(","):
            return None
        url = self._url(signal)
        if url is None:
            return None
        protocol = self._of(signal, "PROTOCOL")
        if protocol not in {"", "http/protobuf"}:
            self._note("OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf is spoken, and is what is sent.")
        try:
            tls = self._tls(signal) if url.startswith("https:") else None
        except OSError as error:
            self._note(
                f"OTEL_EXPORTER_OTLP_CERTIFICATE, CLIENT_CERTIFICATE and CLIENT_KEY: cannot be used "
                f"({error.strerror or type(error).__name__}); no {signal} are sent."
            )
            return None
        return Receiver(
            url=url,
            headers=self._headers(signal, url),
            timeout_s=self.whole(self._name(signal, "TIMEOUT"), 10_000) / 1000,
            gzip=self._gzip(signal),
            tls=tls,
        )

    def temporality(self, metrics: Receiver | None) -> Temporality:
        """As said; else what the receiver understands."""
        default = Temporality.CUMULATIVE
        if metrics is not None and _is_new_relic(metrics.url):
            default = Temporality.DELTA
        preference = self._get(PREFERENCE).lower()
        if preference and preference not in PREFERENCES:
            self._note(f"{PREFERENCE}: must be cumulative, delta or lowmemory; {default} is used.")
        return PREFERENCES.get(preference, default)

    def whole(self, name: str, default: int, *, least: int = 1) -> int:
        """A whole number, or the default when it is none or too small."""
        text = self._get(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and int(text) >= least):
            self._note(f"{name}: must be a whole number from {least}; {default} is used.")
            return default
        return int(text)

    def _url(self, signal: Signal) -> str | None:
        own = f"OTEL_EXPORTER_OTLP_{signal.name}_ENDPOINT"
        name = own if self._get(own) else ENDPOINT
        text = self._get(name)
        if not text:
            return None
        url = text if name == own else f"{text.removesuffix('/')}/v1/{signal}"
        try:
            parts = urlsplit(url)
            good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good:
            self._note(
                f"{name}: must be an address that begins with http:// or https://; nothing is sent to it."
            )
            return None
        return url

    def _headers(self, signal: Signal, url: str) -> dict[str, str]:
        name = self._name(signal, "HEADERS")
        headers = {}
        for pair in filter(None, (part.strip() for part in self._get(name).split(","))):
            key, equals, value = (unquote(part).strip() for part in pair.partition("="))
            if not (equals and key and _is_header(key + value)):
                self._note(
                    f"{name}: must be name=value, separated by commas; a part that is not is left out."
                )
                continue
            headers[key.lower()] = value
        license_key = self._get(LICENSE_KEY)
        if license_key and _is_new_relic(url) and "api-key" not in headers:
            headers["api-key"] = license_key
        return headers

    def _gzip(self, signal: Signal) -> bool:
        value = self._of(signal, "COMPRESSION")
        if value not in {"", "gzip", "none"}:
            self._note("OTEL_EXPORTER_OTLP_COMPRESSION: must be gzip or none; gzip is used.")
        return value != "none"

    def _tls(self, signal: Signal) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._of(signal, "CERTIFICATE") or None)
        if certificate := self._of(signal, "CLIENT_CERTIFICATE"):
            context.load_cert_chain(certificate, self._of(signal, "CLIENT_KEY") or None)
        return context

    def _name(self, signal: Signal, what: str) -> str:
        """The signal's own variable when it is set, else the one for all signals."""
        own = f"OTEL_EXPORTER_OTLP_{signal.name}_{what}"
        return own if self._get(own) else f"OTEL_EXPORTER_OTLP_{what}"

    def _of(self, signal: Signal, what: str) -> str:
        return self._get(self._name(signal, what))

    def _get(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


def _is_new_relic(url: str) -> bool:
    """Only there may the license key go, and only over TLS."""
    parts = urlsplit(url)
    return parts.scheme == "https" and (parts.hostname or "").endswith("." + NEW_RELIC)


def _is_header(text: str) -> bool:
    return text.isascii() and text.isprintable()

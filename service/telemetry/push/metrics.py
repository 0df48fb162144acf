"""What pushing tells."""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter


class Signal(StrEnum):
    """What is pushed."""

    TRACES = "traces"
    METRICS = "metrics"


class Exported(StrEnum):
    """How an export ended."""

    ACCEPTED = "accepted"
    PARTIAL = "partial"  # the receiver has it and would not take a part of it
    REFUSED = "refused"  # answered with an error that trying again does not mend
    BUSY = "busy"  # 429, 502, 503, 504: the same again, later
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    FAILED = "failed"  # nothing that could be sent was made; the log says why

    @property
    def arrived(self) -> bool:
        """The receiver is answerable for it from now on."""
        return self in {Exported.ACCEPTED, Exported.PARTIAL}

    @property
    def passing(self) -> bool:
        """The same may be accepted later (OTLP specification, "Retryable Response Codes")."""
        return self in {Exported.BUSY, Exported.TIMEOUT, Exported.UNREACHABLE}


class PushMetrics:
    """Exports and what was lost on the way; all zero as long as nobody said where to."""

    def __init__(self, registry: CollectorRegistry, account: str) -> None:
        exports = Counter(
            "whatsapp_telemetry_exports",
            "Requests with traces or metrics to the OTLP receiver, by how they ended.",
            ["account", "signal", "result"],
            registry=registry,
        )
        dropped = Counter(
            "whatsapp_telemetry_dropped",
            "Spans and points of metrics that were given up: the receiver would not have them, or it was "
            "away for so long that there was no room for more spans. A failed export of metrics loses none.",
            ["account", "signal"],
            registry=registry,
        )
        self.exports = {
            (signal, result): exports.labels(account, signal.value, result.value)
            for signal in Signal
            for result in Exported
        }
        self.dropped = {signal: dropped.labels(account, signal.value) for signal in Signal}

"""What the alert webhook tells."""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter

from service.alerting.model import Source

UNKNOWN_SOURCE = "unknown"
"""The label of a body that is nobody's format."""


class NotificationOutcome(StrEnum):
    """What became of a notification."""

    QUEUED = "queued"  # messages of it are kept
    DUPLICATE = "duplicate"  # it had been told already
    REJECTED = "rejected"  # the store could not keep it; the sender tries again
    INVALID = "invalid"  # not in a format that is known
    NO_CHATS = "no_chats"  # ALERT_CHATS is not set


class AlertMetrics:
    """Notifications by source and outcome, and templates that failed."""

    def __init__(self, registry: CollectorRegistry, account: str) -> None:
        received = Counter(
            "whatsapp_alerts_received",
            "Alert notifications handed in by a monitoring system, by whose format and what became of them.",
            ["account", "source", "outcome"],
            registry=registry,
        )
        self._received = {
            (source, outcome): received.labels(account, source, outcome.value)
            for source in (*(source.value for source in Source), UNKNOWN_SOURCE)
            for outcome in NotificationOutcome
        }
        self._template_failures = Counter(
            "whatsapp_alerts_template_failures",
            "Notifications that the template of ALERT_TEMPLATE could not show; the shipped one did.",
            ["account"],
            registry=registry,
        ).labels(account)

    def received(self, source: Source | None, outcome: NotificationOutcome) -> None:
        """A notification was dealt with."""
        self._received[source.value if source else UNKNOWN_SOURCE, outcome].inc()

    def template_failed(self) -> None:
        """Somebody's own template could not show a notification."""
        self._template_failures.inc()

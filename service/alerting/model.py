"""What a monitoring system tells: a group of alerts that belong together, and how each of them is."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

REPEAT_S: Final = 1800.0
"""The same notification again within this time is one that was sent twice, after it a reminder.

Two Alertmanagers that watch over each other send one notification within seconds (`cluster.peer-timeout`,
15 s for each peer), and one that got no answer tries again for as long as its `group_interval` (5 min by
default); reminders come after its `repeat_interval` (4 h by default).
"""


class Source(StrEnum):
    """Whose format it is."""

    ALERTMANAGER = "alertmanager"
    GRAFANA = "grafana"


class AlertStatus(StrEnum):
    """How an alert is."""

    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert. Times are Unix seconds; `ends_at` is None while it fires."""

    status: AlertStatus
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: float
    ends_at: float | None
    url: str
    fingerprint: str

    @property
    def changed_at(self) -> float:
        """When it came to be as it is."""
        return self.starts_at if self.ends_at is None else self.ends_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A group of alerts at one moment. `left_out` alerts of it were not told to us."""

    source: Source
    status: AlertStatus
    receiver: str
    group_key: str
    group_labels: Mapping[str, str]
    common_labels: Mapping[str, str]
    common_annotations: Mapping[str, str]
    alerts: Sequence[Alert]
    left_out: int = 0
    url: str = ""

    @property
    def firing(self) -> Sequence[Alert]:
        """Those that fire."""
        return [alert for alert in self.alerts if alert.status is AlertStatus.FIRING]

    @property
    def resolved(self) -> Sequence[Alert]:
        """Those that are over."""
        return [alert for alert in self.alerts if alert.status is AlertStatus.RESOLVED]

    def key(self, chat: str, *, now: float) -> str:
        """The same for the same news to the same chat, whoever sends it and however often, for a while.

        Time is cut into pieces of `REPEAT_S` that begin with the latest change among the alerts: news comes
        soon after that, so that it and its copies fall into one piece.
        """
        changed_at = max(alert.changed_at for alert in self.alerts)
        told = [
            self.group_key,
            self.status.value,
            *sorted(f"{it.fingerprint}/{it.status}/{it.starts_at}/{it.ends_at}" for it in self.alerts),
            str(int((now - changed_at) // REPEAT_S)),
            chat,
        ]
        digest = hashlib.sha256("\x1f".join(told).encode()).hexdigest()
        return f"alert-{digest[:40]}"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A notification as text, and whether somebody's own template failed on the way."""

    text: str
    template_failed: bool = field(default=False)

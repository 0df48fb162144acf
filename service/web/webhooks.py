"""What Alertmanager (webhook version 4) and Grafana (version 1) send, and what Beacon reads of it.

Sources: Alertmanager `docs/configuration.md`, "webhook_config"; Grafana documentation, "Configure the webhook
notifier". Fields that are not named here are let be: both formats grow.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.alerting.model import Alert, AlertStatus, Notification, Source
from service.web.schemas import Instant

MAX_ALERTS: Final = 10_000
"""More than fit into the largest body that is read."""

VERSIONS: Final = {"4": Source.ALERTMANAGER, "1": Source.GRAFANA}
Texts = dict[str, str]

_TEXTS: Final = "an object whose values are strings"
_STATUS: Final = "firing or resolved"


class _Told(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)


class AlertIn(_Told):
    """One alert of a notification."""

    status: AlertStatus = Field(strict=False, description=_STATUS)
    labels: Texts = Field(description=_TEXTS)
    annotations: Texts = Field(default_factory=dict, description=_TEXTS)
    startsAt: Instant = Field(description="a time, as RFC 3339 with offset")  # noqa: N815 - their name
    endsAt: Instant | None = Field(None, description="a time, as RFC 3339 with offset")  # noqa: N815
    generatorURL: str = Field("", description="a string")  # noqa: N815
    fingerprint: str = Field("", description="a string")

    def alert(self) -> Alert:
        """As it is understood."""
        over = self.status is AlertStatus.RESOLVED
        return Alert(
            status=self.status,
            labels=self.labels,
            annotations=self.annotations,
            starts_at=max(self.startsAt, 0.0),
            ends_at=max(self.endsAt or 0.0, self.startsAt, 0.0) if over else None,
            url=self.generatorURL,
            fingerprint=self.fingerprint or _print_of(self.labels),
        )


class NotificationIn(_Told):
    """A notification of Alertmanager or Grafana."""

    version: Literal["4", "1"] = Field(description="4 (Alertmanager) or 1 (Grafana), as a string")
    groupKey: str = Field(min_length=1, description="a string that is not empty")  # noqa: N815
    truncatedAlerts: int | None = Field(None, ge=0, description="a whole number from 0")  # noqa: N815
    status: AlertStatus = Field(strict=False, description=_STATUS)
    receiver: str = Field(description="a string")
    groupLabels: Texts = Field(default_factory=dict, description=_TEXTS)  # noqa: N815
    commonLabels: Texts = Field(default_factory=dict, description=_TEXTS)  # noqa: N815
    commonAnnotations: Texts = Field(default_factory=dict, description=_TEXTS)  # noqa: N815
    externalURL: str = Field("", description="a string")  # noqa: N815
    alerts: list[AlertIn] = Field(
        min_length=1, max_length=MAX_ALERTS, description=f"an array of 1 to {MAX_ALERTS} alerts"
    )

    def notification(self) -> Notification:
        """As it is understood."""
        return Notification(
            source=VERSIONS[self.version],
            status=self.status,
            receiver=self.receiver,
            group_key=self.groupKey,
            group_labels=self.groupLabels,
            common_labels=self.commonLabels,
            common_annotations=self.commonAnnotations,
            alerts=[alert.alert() for alert in self.alerts],
            left_out=self.truncatedAlerts or 0,
            url=self.externalURL,
        )


def source_of(body: Mapping[str, Any]) -> Source | None:
    """Whose format it says to be; None for nobody's."""
    version = body.get("version")
    return VERSIONS.get(version) if isinstance(version, str) else None


def _print_of(labels: Texts) -> str:
    return "\x1f".join(f"{name}={value}" for name, value in sorted(labels.items()))

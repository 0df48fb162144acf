"""From a notification to the text of a message: a Jinja template, the shipped one or somebody's own."""

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Final

import structlog
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from service.alerting.model import Alert, AlertStatus, Notification, Rendered, Source
from service.errors import SettingsError

log = structlog.get_logger(__name__)

SHIPPED: Final = Path(__file__).with_name("message.txt.j2")

MAX_CHARS: Final = 4096
"""Longest message; a phone shows no more of one without being asked."""

MAX_VALUE_CHARS: Final = 600
"""Longest label or annotation in it: one description must not push out the other alerts."""

_CUT: Final = "…"
_DAY_S: Final = 86_400


class Rendering:
    """Makes texts. Times are shown in `zone`.

    `own` is the path of a template of the operator's; it is tried at once. Raises SettingsError.
    """

    def __init__(self, *, zone: tzinfo = UTC, own: Path | None = None) -> None:
        self._environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
        self._environment.filters["when"] = lambda moment: _when(moment, zone)
        self._environment.filters["lasted"] = lambda alert: _lasted(alert, zone)
        self._shipped = self._environment.from_string(SHIPPED.read_text("utf-8"))
        self._own = None if own is None else self._read(own)

    def text(self, notification: Notification) -> Rendered:
        """The message, at most `MAX_CHARS` long. One's own template that fails is stood in for."""
        told = _told(notification)
        if self._own is not None:
            try:
                return Rendered(_bounded(self._own.render(told)))
            except Exception as error:  # noqa: BLE001 - a template can raise anything; the alert must go out
                log.warning("alerts.template_failed", error=type(error).__name__)
                return Rendered(_bounded(self._shipped.render(told)), template_failed=True)
        return Rendered(_bounded(self._shipped.render(told)))

    def _read(self, path: Path) -> Any:
        try:
            template = self._environment.from_string(path.read_text("utf-8"))
            for notification in _SAMPLES:
                _bounded(template.render(_told(notification)))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SettingsError([f"ALERT_TEMPLATE={path}: must be a template in UTF-8 ({reason})"]) from error
        except TemplateError as error:
            line = f"line {error.lineno}: " if hasattr(error, "lineno") else ""
            raise SettingsError([f"ALERT_TEMPLATE={path}: {line}{error.message}"]) from error
        except Exception as error:
            raise SettingsError([f"ALERT_TEMPLATE={path}: {type(error).__name__}: {error}"]) from error
        return template


def _told(notification: Notification) -> dict[str, Any]:
    return {
        "status": notification.status.value,
        "source": notification.source.value,
        "receiver": notification.receiver,
        "url": notification.url,
        "group_labels": _short(notification.group_labels),
        "common_labels": _short(notification.common_labels),
        "common_annotations": _short(notification.common_annotations),
        "firing": [_told_alert(alert) for alert in notification.firing],
        "resolved": [_told_alert(alert) for alert in notification.resolved],
        "left_out": notification.left_out,
    }


def _told_alert(alert: Alert) -> dict[str, Any]:
    return {
        "status": alert.status.value,
        "labels": _short(alert.labels),
        "annotations": _short(alert.annotations),
        "starts_at": alert.starts_at,
        "ends_at": alert.ends_at,
        "url": alert.url,
    }


class _Texts(dict[str, str]):
    """Labels or annotations; one that is not there is empty, as in Alertmanager's own templates."""

    def __missing__(self, _: str) -> str:
        return ""


def _short(texts: Mapping[str, str]) -> _Texts:
    return _Texts({name: _cut(text, MAX_VALUE_CHARS) for name, text in texts.items()})


def _bounded(text: str) -> str:
    """Raises ValueError for a text with nothing in it."""
    if not (text := text.strip()):
        raise ValueError("the message is empty")
    return _cut(text, MAX_CHARS)


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: chars - 1] + _CUT


def _when(moment: float, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(moment, zone):%Y-%m-%d %H:%M %Z}"


def _lasted(alert: Mapping[str, Any], zone: tzinfo) -> str:
    """`since 2026-11-22 14:03 CET`, or `14:03 to 14:10 CET` when it is over."""
    starts, ends = alert["starts_at"], alert["ends_at"]
    if ends is None:
        return f"since {_when(starts, zone)}"
    begun = datetime.fromtimestamp(starts, zone)
    same_day = 0 <= ends - starts < _DAY_S
    return f"{begun:%H:%M}{'' if same_day else f' on {begun:%Y-%m-%d}'} to {_when(ends, zone)}"


def _sample(status: AlertStatus) -> Notification:
    alert = Alert(
        status=status,
        labels={"alertname": "Sample", "instance": "here"},
        annotations={},
        starts_at=0.0,
        ends_at=None if status is AlertStatus.FIRING else 60.0,
        url="",
        fingerprint="0",
    )
    return Notification(
        source=Source.ALERTMANAGER,
        status=status,
        receiver="sample",
        group_key="sample",
        group_labels={},
        common_labels=alert.labels,
        common_annotations={},
        alerts=[alert],
    )


_SAMPLES: Final = [_sample(status) for status in AlertStatus]
"""What a template must be able to show before the service starts: alerts with hardly anything in them."""

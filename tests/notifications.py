"""Notifications as Alertmanager and Grafana send them."""

from typing import Any

STARTED = "2026-11-22T00:10:03.123456789Z"
ENDED = "2026-11-22T00:20:03.5Z"
NEVER = "0001-01-01T00:00:00Z"


def alert(number: int, status: str = "firing", **annotations: str) -> dict[str, Any]:
    """One alert of a group."""
    return {
        "status": status,
        "labels": {
            "alertname": "WhatsAppDisconnected",
            "severity": "critical",
            "instance": f"host{number}:8000",
        },
        "annotations": {
            "summary": "The account is disconnected.",
            "description": f"host{number} cannot send.",
            **annotations,
        },
        "startsAt": STARTED,
        "endsAt": NEVER if status == "firing" else ENDED,
        "generatorURL": "http://prometheus.example/graph",
        "fingerprint": f"{number:016x}",
    }


def alertmanager(*alerts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Alertmanager's webhook, version 4."""
    given = alerts or (alert(1),)
    firing = any(one["status"] == "firing" for one in given)
    return {
        "version": "4",
        "groupKey": '{}:{alertname="WhatsAppDisconnected"}',
        "truncatedAlerts": 0,
        "status": "firing" if firing else "resolved",
        "receiver": "beacon",
        "groupLabels": {"alertname": "WhatsAppDisconnected"},
        "commonLabels": {"alertname": "WhatsAppDisconnected", "severity": "critical"},
        "commonAnnotations": {
            "summary": "The account is disconnected.",
            "runbook_url": "https://runbooks.example/WhatsAppDisconnected.md",
        },
        "externalURL": "http://alertmanager.example",
        "alerts": list(given),
        **fields,
    }


def grafana(*alerts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Grafana's webhook, version 1, with the fields that only it has."""
    more = {
        "values": {"A": 1.5},
        "valueString": "[ var='A' value=1.5 ]",
        "dashboardURL": "http://grafana.example/d/1",
        "panelURL": "",
        "silenceURL": "http://grafana.example/silence",
        "imageURL": None,
    }
    body = alertmanager(*(one | more for one in alerts or (alert(1),)))
    return {
        **body,
        "version": "1",
        "orgId": 1,
        "title": "[FIRING:1] WhatsAppDisconnected",
        "state": "alerting",
        "message": "**Firing** ...",
        **fields,
    }

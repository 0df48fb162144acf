"""What an alert says on a phone."""

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from service.alerting.rendering import MAX_CHARS, SHIPPED, Rendering
from service.errors import SettingsError
from service.web.webhooks import NotificationIn
from tests.notifications import alert, alertmanager, grafana

BERLIN = ZoneInfo("Europe/Berlin")


def text(body: dict[str, Any], rendering: Rendering | None = None) -> str:
    notification = NotificationIn.model_validate(body).notification()
    return (rendering or Rendering(zone=BERLIN)).text(notification).text


def test_a_firing_group_is_one_text_with_all_its_alerts() -> None:
    assert text(alertmanager(alert(1), alert(2))) == (
        "*FIRING* WhatsAppDisconnected (critical)\n"
        "The account is disconnected.\n"
        "\n"
        "• instance=host1:8000 (since 2026-11-22 01:10 CET)\n"
        "host1 cannot send.\n"
        "\n"
        "• instance=host2:8000 (since 2026-11-22 01:10 CET)\n"
        "host2 cannot send.\n"
        "\n"
        "Runbook: https://runbooks.example/WhatsAppDisconnected.md\n"
        "Alerts: http://alertmanager.example"
    )


def test_a_resolved_one_says_how_long_it_lasted() -> None:
    told = text(alertmanager(alert(1, "resolved")))
    assert told.startswith("*RESOLVED* WhatsAppDisconnected (critical)\n")
    assert "(01:10 to 2026-11-22 01:20 CET)" in told


def test_of_a_mixed_group_those_that_are_over_come_last() -> None:
    told = text(alertmanager(alert(1, "resolved"), alert(2)))
    assert told.startswith("*FIRING*")
    assert told.index("host2") < told.index("*Resolved:*") < told.index("host1")


def test_many_alerts_are_told_by_number() -> None:
    told = text(alertmanager(*[alert(number) for number in range(1, 21)], truncatedAlerts=7))
    assert "host8:" in told
    assert "host9:" not in told
    assert "and 12 more" in told
    assert "7 more were not told" in told


def test_grafana_says_the_same() -> None:
    assert text(grafana()) == text(alertmanager())


def test_a_group_without_names_is_told_by_its_receiver() -> None:
    told = text(alertmanager(alert(1), groupLabels={}, commonLabels={}, commonAnnotations={}))
    assert told.startswith("*FIRING* beacon\n")


def test_no_text_is_longer_than_a_phone_shows() -> None:
    told = text(alertmanager(*[alert(number, description="long " * 2000) for number in range(8)]))
    assert len(told) == MAX_CHARS
    assert "host1:" in told, "a long description leaves room for other alerts"


def test_an_own_template_speaks_instead(tmp_path: Path) -> None:
    own = tmp_path / "mine.txt"
    own.write_text("{{ status }}: {{ firing | length }} at {{ (firing + resolved)[0].starts_at | when }}")
    assert text(alertmanager(), Rendering(zone=BERLIN, own=own)) == "firing: 1 at 2026-11-22 01:10 CET"


def test_a_copy_of_the_shipped_template_is_a_good_one(tmp_path: Path) -> None:
    own = tmp_path / "copy.txt"
    own.write_text(SHIPPED.read_text())
    assert text(alertmanager(), Rendering(zone=BERLIN, own=own)) == text(alertmanager())


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{{ status", "line 1: unexpected end of template"),
        ("\n{% for %}", "line 2: "),
        ("{{ colour }}", "'colour' is undefined"),
        ("{{ firing.x.y }}", "has no attribute 'x'"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("  ", "the message is empty"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_a_template_that_cannot_work_stops_the_start(
    tmp_path: Path, template: str | bytes, sentence: str
) -> None:
    own = tmp_path / "mine.txt"
    own.write_bytes(template if isinstance(template, bytes) else template.encode())
    with pytest.raises(SettingsError) as caught:
        Rendering(own=own)
    assert str(caught.value).startswith(f"ALERT_TEMPLATE={own}: ")
    assert sentence in str(caught.value)


def test_a_template_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        Rendering(own=tmp_path / "none.txt")


def test_a_template_that_fails_later_does_not_keep_the_alert(tmp_path: Path) -> None:
    own = tmp_path / "mine.txt"
    own.write_text(
        "{{ (firing + resolved)[0].labels.instance | int + 'x' if firing | length > 1 else 'ok' }}"
    )
    rendering = Rendering(zone=BERLIN, own=own)
    notification = NotificationIn.model_validate(alertmanager(alert(1), alert(2))).notification()

    rendered = rendering.text(notification)

    assert rendered.template_failed
    assert rendered.text == text(alertmanager(alert(1), alert(2)))

"""The example for Alertmanager: it is taken, and every alert goes where somebody hears it."""

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.unit.alerts.shipped import ALERTS, Alert, alerts

CONFIG: Final = ALERTS / "alertmanager.yml"
RECEIVERS: Final = {"none": "heartbeat", "info": "nobody", "warning": "people", "critical": "people"}

INFORMATION: Final = Alert(
    name="WhatsAppSomething", expr="", wait=None, labels={"severity": "info"}, annotations={}
)
"""None is shipped, and somebody may have one of their own."""


def amtool(*arguments: str | Path) -> str:
    """What amtool says when it has no objections."""
    ended = subprocess.run(["amtool", *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def config() -> Any:
    """The example, as data."""
    return yaml.safe_load(CONFIG.read_text())


def test_alertmanager_takes_the_example() -> None:
    assert "SUCCESS" in amtool("check-config", CONFIG)


@pytest.mark.parametrize("severity", RECEIVERS)
def test_alerts_reach_a_receiver_by_their_severity(severity: str) -> None:
    alert = next((one for one in alerts() if one.labels["severity"] == severity), INFORMATION)
    labels = (f"{name}={value}" for name, value in alert.labels.items())
    routed = amtool("config", "routes", "test", f"--config.file={CONFIG}", f"alertname={alert.name}", *labels)
    assert routed.split() == [RECEIVERS[severity]]


def test_people_are_told_over_two_channels_because_whatsapp_cannot_tell_of_its_own_outage(
    config: Any,
) -> None:
    people = next(receiver for receiver in config["receivers"] if receiver["name"] == "people")
    assert people["webhook_configs"][0]["url"].endswith("/api/v1/alerts")
    assert people["email_configs"]


def test_no_secret_stands_in_the_example(config: Any) -> None:
    text = CONFIG.read_text()
    assert "credentials_file:" in text
    assert "credentials: " not in text
    assert "password: " not in text


def test_whatever_is_muted_by_name_is_an_alert(config: Any) -> None:
    names = {alert.name for alert in alerts()}
    for rule in config["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            found = re.fullmatch(r'alertname (=~|!~|=) "?([^"]+)"?', matcher)
            if found is None:
                continue
            for choice in _choices(found[2]):
                assert any(re.fullmatch(choice, name) for name in names), choice


def _choices(pattern: str) -> list[str]:
    head, bracket, rest = pattern.partition("(")
    if not bracket:
        return pattern.split("|")
    return [head + choice for choice in rest.removesuffix(")").split("|")]


def test_no_alert_mutes_itself(config: Any) -> None:
    def fits(matchers: list[str], labels: dict[str, str]) -> bool:
        for matcher in matchers:
            found = re.fullmatch(r'(\w+) (=~|!~|!=|=) "?([^"]*)"?', matcher)
            assert found is not None, matcher
            value = labels.get(found[1], "")
            holds = {
                "=": value == found[3],
                "!=": value != found[3],
                "=~": bool(re.fullmatch(found[3], value)),
                "!~": not re.fullmatch(found[3], value),
            }[found[2]]
            if not holds:
                return False
        return True

    for rule in config["inhibit_rules"]:
        for alert in alerts():
            labels = {"alertname": alert.name, "instance": "a", **alert.labels}
            both = fits(rule["source_matchers"], labels) and fits(rule["target_matchers"], labels)
            assert not both, f"{alert.name} mutes itself: {rule}"

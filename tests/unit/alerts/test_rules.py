"""The rules are what Prometheus takes, and what people who are woken by them need."""

import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.unit.alerts.shipped import ALERTS, RULE_FILES, TEST_FILES, Alert, alerts, recorded

SCRAPE_S: Final = 15
"""Between two scrapes in the example stack."""

UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
BOARDS: Final = {
    board["uid"]
    for path in (ALERTS.parent / "dashboards").glob("*.json")
    if "uid" in (board := json.loads(path.read_text()))
}
EVERY = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.id)


def seconds(duration: str) -> int:
    """From `15m`."""
    return int(duration[:-1]) * UNITS_S[duration[-1]]


def promtool(*arguments: str | Path) -> None:
    """promtool has nothing to say against it."""
    ended = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_prometheus_takes_the_rules_and_its_linter_finds_nothing() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES)


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.stem)
def test_the_rules_do_what_their_tests_say(path: Path) -> None:
    promtool("test", "rules", path)


def test_every_alert_is_tested_firing_and_quiet_and_pending_where_it_waits() -> None:
    fires, quiet, pends = Counter[str](), Counter[str](), Counter[str]()
    for path in TEST_FILES:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for question in test["alert_rule_test"]:
                (fires if question["exp_alerts"] else quiet)[question["alertname"]] += 1
            for question in test.get("promql_expr_test", []):
                pends[re.search(r'alertname="(\w+)"', question["expr"])[1]] += 1  # type: ignore[index]
    every = {alert.name for alert in alerts()}
    always = {"WhatsAppWatchdog"}
    assert (set(fires), set(quiet), set(pends)) == (every, every - always, every - always)


@EVERY
def test_an_alert_says_what_it_is_and_where_to_read_on(alert: Alert) -> None:
    assert re.fullmatch(r"WhatsApp([A-Z][a-z]+)+", alert.name)
    assert alert.labels["severity"] in {"critical", "warning", "info", "none"}
    summary, description = alert.annotations["summary"], alert.annotations["description"]
    assert re.fullmatch(r"[A-Z][^{}]+\.", summary), "a full sentence, the same each time"
    assert alert.name == "WhatsAppWatchdog" or "First " in description, "what is to be done first"
    assert alert.annotations["runbook_url"] == f"http://localhost:8081/{alert.name}.md"
    board = alert.annotations["dashboard_url"].removeprefix("http://localhost:3000/d/")
    assert board in BOARDS


@EVERY
def test_an_alert_waits_longer_than_one_failed_scrape(alert: Alert) -> None:
    if alert.name != "WhatsAppWatchdog":
        assert alert.wait is not None
        assert seconds(alert.wait) >= 2 * SCRAPE_S
    for window in re.findall(r"\[(\w+)\]", alert.expr):
        assert seconds(window) >= 4 * SCRAPE_S


@EVERY
def test_no_label_of_an_alert_changes_with_the_value(alert: Alert) -> None:
    assert not any("{{" in value for value in alert.labels.values())


@EVERY
def test_labels_that_a_description_names_are_there(alert: Alert) -> None:
    kept = {name for group in re.findall(r"by \(([^)]+)\)", alert.expr) for name in group.split(", ")}
    if not kept:
        kept = {"job", "instance", "account"}
    assert set(re.findall(r"\$labels\.(\w+)", alert.annotations["description"])) <= kept | set(alert.labels)


def test_the_job_is_named_only_where_nothing_else_can_name_it() -> None:
    assert {a.name for a in alerts() if re.search(r'job="', a.expr)} == {"WhatsAppDown", "WhatsAppTargetDown"}


def test_a_recorded_series_is_used_and_what_is_used_is_recorded() -> None:
    names = set(recorded())
    expressions = [*recorded().values(), *(alert.expr for alert in alerts())]
    assert {name for expr in expressions for name in re.findall(r"account:\w+:\w+", expr)} == names


@pytest.mark.parametrize("name", sorted(recorded()))
def test_a_recorded_series_has_the_window_of_its_name(name: str) -> None:
    window = re.search(r"(?:increase|ratio)(\w+)$", name)
    assert window is not None
    used = re.findall(r"\[(\w+)\]|:(?:increase|ratio)(\w+)", recorded()[name])
    assert {a or b for a, b in used} == {window[1]}

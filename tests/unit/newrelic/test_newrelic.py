"""What is shipped for New Relic names what is pushed, in the way in which New Relic has it.

Its own service cannot be asked here: the shapes are those of its documentation.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import hcl2
import pytest

from dashboards import newrelic
from tests.unit.alerts.shipped import alerts

ROOT: Final = Path(__file__).parents[3]
SUITS: Final = {
    "counter": {"sum"},
    "gauge": {"latest", "min", "max", "count"},
    "histogram": {"percentile", "count", "getCdfCount"},
}
"""A counter is there as a delta, a histogram as a distribution."""


@dataclass(frozen=True, slots=True)
class Known:
    """A metric of the golden list."""

    type: str
    labels: Mapping[str, frozenset[str]]


@cache
def golden() -> dict[str, Known]:
    lines = (ROOT / "tests/golden/metrics.txt").read_text().splitlines()
    known = {}
    for line in lines:
        found = re.match(r"(\S+) (\S+) \{(.*?)\} ", line)
        assert found, line
        labels = dict(part.partition("=")[::2] for part in found[3].split())
        known[found[1]] = Known(
            found[2], {name: frozenset(filter(None, values.split("|"))) for name, values in labels.items()}
        )
    return known


def queries() -> Iterator[tuple[str, str]]:
    """Title and query of every chart and every condition."""
    for page in newrelic.PAGES:
        for widget in page.widgets:
            yield f"{page.name}: {widget.title}", widget.query
    for name, condition in conditions().items():
        yield name, condition["query"]


@cache
def terraform() -> dict[str, Any]:
    with (ROOT / "alerts/newrelic.tf").open() as file:
        return hcl2.load(file)


@cache
def conditions() -> dict[str, dict[str, Any]]:
    """The conditions by name, with what Terraform would put in."""
    (local,) = terraform()["locals"]
    table = {}
    for kind in ("gauges", "counts"):
        for name, condition in local[kind].items():
            plain = {key: _plain(value) for key, value in condition.items() if key != "__is_block__"}
            plain["query"] = plain["query"].replace("${local.age}", _plain(local["age"]))
            table[name] = {**plain, "kind": kind}
    return table


def resources(kind: str) -> dict[str, dict[str, Any]]:
    return {
        _plain(name): {key: _plain(value) for key, value in body.items()}
        for resource in terraform()["resource"]
        for its_kind, bodies in resource.items()
        if _plain(its_kind) == kind
        for name, body in bodies.items()
        if name != "__is_block__"
    }


def _plain(value: Any) -> Any:
    return value.strip('"') if isinstance(value, str) else value


def test_the_committed_dashboard_is_what_the_program_writes() -> None:
    committed = (ROOT / "dashboards/newrelic.json").read_text(encoding="utf-8")
    assert committed == newrelic.render(newrelic.PLACEHOLDER)


def test_the_dashboard_has_the_shape_of_dashboard_create_and_the_account_that_is_asked_for() -> None:
    board = json.loads(newrelic.render(1234567))
    assert set(board) == {"name", "description", "permissions", "pages", "variables"}
    for page in board["pages"]:
        assert set(page) == {"name", "description", "widgets"}
        taken: set[tuple[int, int]] = set()
        for widget in page["widgets"]:
            assert set(widget) == {
                "title",
                "layout",
                "visualization",
                "rawConfiguration",
                "linkedEntityGuids",
            }
            assert widget["visualization"]["id"] in {"viz.billboard", "viz.line", "viz.area"}
            (query,) = widget["rawConfiguration"]["nrqlQueries"]
            assert query["accountIds"] == [1234567]
            layout = widget["layout"]
            cells = {
                (layout["row"] + down, layout["column"] + right)
                for down in range(layout["height"])
                for right in range(layout["width"])
            }
            assert not cells & taken, widget["title"]
            assert max(column for _, column in cells) <= newrelic.COLUMNS
            taken |= cells


@pytest.mark.parametrize(("title", "query"), list(queries()), ids=lambda value: value.split(" FROM")[0])
def test_a_query_asks_for_what_is_pushed(title: str, query: str) -> None:
    known = golden()
    asked = re.findall(r"(\w+)\((whatsapp_\w+)", query)
    assert len(asked) == len(re.findall(r"whatsapp_\w+", query)), "every metric is aggregated"
    assert asked
    for function, name in asked:
        assert name in known, title
        assert function in SUITS[known[name].type], f"{title}: {function}({name})"
    labels = {label: values for _, name in asked for label, values in known[name].labels.items()}
    for faceted in re.findall(r"FACET ([\w, ]+?)(?: TIMESERIES| SINCE|$)", query):
        assert set(faceted.split(", ")) <= set(labels), title
    for label, words in re.findall(r"(\w+) (?:=|!=|IN|NOT IN) (\(.*?\)|'\w+')", query):
        assert label in labels, title
        values = set(re.findall(r"'(\w+)'", words))
        assert values <= labels[label] or not labels[label], f"{title}: {label}"


def test_no_query_reads_the_state_set_whose_label_is_named_like_the_metric() -> None:
    assert not any(re.search(r"\bwhatsapp_connection_state\b", query) for _, query in queries())


@pytest.mark.parametrize("name", sorted(conditions()))
def test_a_condition_is_the_alert_of_that_name(name: str) -> None:
    condition = conditions()[name]
    rules = {alert.name: alert.labels["severity"] for alert in alerts()}
    assert condition["severity"] == rules[name]
    assert condition["says"].endswith(".")
    assert (ROOT / f"alerts/runbooks/{name}.md").is_file()
    waits = condition["for"] if condition["kind"] == "gauges" else condition["within"]
    assert waits % 60 == 0
    assert 60 <= waits <= 86_400
    assert condition["kind"] == "gauges" or waits <= 21_600, "the longest window that New Relic has"


def test_every_critical_alert_of_the_rules_has_a_condition() -> None:
    critical = {alert.name for alert in alerts() if alert.labels["severity"] == "critical"}
    assert critical <= {*conditions(), "WhatsAppDown"}


def test_every_condition_has_a_runbook_and_says_what_a_lost_signal_means() -> None:
    for name, body in resources("newrelic_nrql_alert_condition").items():
        assert body["runbook_url"].startswith("${var.runbooks}/"), name
        assert body["runbook_url"].endswith(".md"), name
        assert body["policy_id"] == "${newrelic_alert_policy.beacon.id}"
        assert {
            "expiration_duration",
            "open_violation_on_expiration",
            "close_violations_on_expiration",
        } <= set(body)
        assert body["violation_time_limit_seconds"] <= 2_592_000
        method = body["aggregation_method"]
        assert ("aggregation_delay" in body, "aggregation_timer" in body) == {
            "event_flow": (True, False),
            "event_timer": (False, True),
        }[method]


@pytest.mark.parametrize("page", ["push", "new-relic", "grafana-cloud"])
def test_the_pages_name_metrics_that_exist(page: str) -> None:
    text = (ROOT / f"docs/{page}.md").read_text()
    named = {name.removesuffix("_bucket") for name in re.findall(r"\bwhatsapp_\w+", text)}
    assert named
    assert named <= set(golden())


def test_silence_is_an_alert_of_its_own_and_nothing_else_is() -> None:
    opens = {
        name: body["open_violation_on_expiration"]
        for name, body in resources("newrelic_nrql_alert_condition").items()
    }
    assert opens == {"silence": True, "gauge": False, "count": False}
    silence = resources("newrelic_nrql_alert_condition")["silence"]
    assert 120 < silence["expiration_duration"] <= 600, "more than two pushes, less than anybody would wait"


def test_terraform_puts_the_accounts_number_into_the_dashboard() -> None:
    text = resources("newrelic_one_dashboard_json")["beacon"]["json"]
    assert "../dashboards/newrelic.json" in text
    committed = (ROOT / "dashboards/newrelic.json").read_text(encoding="utf-8")
    put_in = re.sub(r'("accountIds": \[\s*)0', r"\g<1>1234567", committed)
    assert put_in == newrelic.render(1234567)

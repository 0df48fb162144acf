"""Grafana's dashboard-linter, its 17 rules said once more: it is a Go program, and these run with the tests.

Rules and their exceptions are from lint/rule_*.go of grafana/dashboard-linter. Ours are stricter where that
costs nothing: every type of panel counts, and a counter with matchers is seen too.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.boards import FOLDER, Use, load, panels, uses

UNITS = {
    *("none", "short", "percentunit", "bytes", "Bps", "s", "dtdurations", "dateTimeFromNow"),
    *("cps", "ops", "reqps", "bool_yes_no"),
}
"""Those of the linter's list that are used here."""

WITHOUT_QUERIES = {"text"}
BOARDS = load()
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@pytest.fixture(params=list(BOARDS))
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each dashboard."""
    found: dict[str, Any] = BOARDS[request.param]
    return found


def variable(board: dict[str, Any], name: str) -> dict[str, Any]:
    """A variable by its name."""
    found: list[dict[str, Any]] = [one for one in board["templating"]["list"] if one["name"] == name]
    assert len(found) == 1, f"there are {len(found)} variables {name}"
    return found[0]


def asking(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Panels that show data."""
    return (panel for panel in panels(board) if panel["type"] not in WITHOUT_QUERIES)


def selectors(board: dict[str, Any]) -> Iterator[tuple[str, Use]]:
    """Each selector, with the title of its panel. Alerts are excepted, see the test of that."""
    for panel in asking(board):
        for target in panel["targets"]:
            for use in uses(target["expr"]):
                if use.metric != "ALERTS":
                    yield panel["title"], use


def test_01_the_data_source_is_a_variable(board: dict[str, Any]) -> None:
    (source,) = (one for one in board["templating"]["list"] if one["type"] == "datasource")
    assert (source["name"], source["label"], source["query"]) == ("datasource", "Data source", "prometheus")


@pytest.mark.parametrize("name", ["job", "instance", "account"])
def test_02_and_03_job_and_instance_are_variables(board: dict[str, Any], name: str) -> None:
    found = variable(board, name)
    assert (found["type"], found["datasource"], found["label"]) == ("query", SOURCE, name.capitalize())
    assert (found["multi"], found["includeAll"], found["allValue"]) == (True, True, ".+")


def test_04_variables_ask_for_label_values(board: dict[str, Any]) -> None:
    for found in board["templating"]["list"]:
        if found["type"] == "query":
            asked = re.fullmatch(r"label_values\((.+), [a-z]+\)", found["query"])
            assert asked, found["query"]
            assert uses(asked[1])


def test_05_variables_are_asked_for_anew_when_the_time_changes(board: dict[str, Any]) -> None:
    assert all(one["refresh"] == 2 for one in board["templating"]["list"] if one["type"] == "query")


def test_06_panels_use_the_chosen_data_source(board: dict[str, Any]) -> None:
    for panel in asking(board):
        assert panel["datasource"] == SOURCE, panel["title"]
        assert all(target["datasource"] == SOURCE for target in panel["targets"])


def test_07_panels_have_a_title_and_a_description(board: dict[str, Any]) -> None:
    for panel in panels(board):
        assert panel["title"]
        assert panel["description"].endswith(".") or "text" in panel["type"], panel["title"]


def test_08_panels_have_a_unit(board: dict[str, Any]) -> None:
    for panel in asking(board):
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults.get("unit") in UNITS or defaults.get("mappings"), panel["title"]


def test_09_panels_ask_something(board: dict[str, Any]) -> None:
    assert all(panel["targets"] for panel in asking(board))


def test_10_and_11_nothing_asks_loki(board: dict[str, Any]) -> None:
    assert {panel["datasource"]["type"] for panel in asking(board)} == {"prometheus"}


def test_12_queries_are_promql(board: dict[str, Any]) -> None:
    assert list(selectors(board))


def test_13_rates_use_grafanas_window(board: dict[str, Any]) -> None:
    for panel in asking(board):
        for target in panel["targets"]:
            windows = set(re.findall(r"\brate\([^\[]+\[([^\]]+)\]", target["expr"]))
            assert windows <= {"$__rate_interval"}, panel["title"]
            assert "irate(" not in target["expr"]


def test_14_and_15_every_selector_has_the_variables(board: dict[str, Any]) -> None:
    for title, use in selectors(board):
        names = ["job", "instance"] + ["account"] * use.metric.startswith("whatsapp_")
        wanted = {(name, "Re", f"${name}") for name in names}
        assert wanted <= use.matchers, f"{title}: {use.metric}"


def test_16_counters_are_only_seen_as_rates(board: dict[str, Any]) -> None:
    for title, use in selectors(board):
        if re.search("_(total|bucket|sum|count)$", use.metric):
            assert use.inside in {"rate", "increase"}, f"{title}: {use.metric}"


def test_17_dashboards_cannot_be_edited(board: dict[str, Any]) -> None:
    assert board["editable"] is False


def test_the_exceptions_are_written_down_for_the_linter_itself() -> None:
    """ALERTS of all instances, or of one that is gone, carry neither job nor instance."""
    written = (FOLDER / ".lint").read_text()
    without = [
        (name, panel["title"])
        for name, one in BOARDS.items()
        for panel in asking(one)
        if any(use.metric == "ALERTS" for target in panel["targets"] for use in uses(target["expr"]))
    ]
    assert without == [("overview", "Alerts that fire")]
    assert all(title in written for _, title in without)

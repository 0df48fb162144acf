"""What is committed is what the program writes, and Grafana 11 to 13 can load it."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from dashboards.__main__ import BOARDS, main
from dashboards.states import ADVICE, TITLES
from service.reconnect.status import State
from tests.boards import FOLDER, RULES, load, panels, questions, uses

COMMITTED = load()
GOLDEN = Path(__file__).parents[2] / "golden" / "metrics.txt"
NOT_OURS = {"up", "ALERTS", "scrape_duration_seconds", "scrape_samples_scraped"}
"""What Prometheus itself records."""

OUTSIDE_OF_TRACES = {
    "Event loop lag",
    "Time to log in",
    "Time to renew",
    "Time to start",
    "Wait for the lease",
}


@pytest.fixture(params=list(COMMITTED))
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each dashboard."""
    found: dict[str, Any] = COMMITTED[request.param]
    return found


def everything(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Panels, rows and what is in closed rows."""
    return [one for panel in board["panels"] for one in (panel, *panel.get("panels", ()))]


def test_the_committed_json_is_what_the_program_writes(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--out", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0
    for one in BOARDS:
        written = (tmp_path / f"{one.name}.json").read_text(encoding="utf-8")
        committed = (FOLDER / f"{one.name}.json").read_text(encoding="utf-8")
        assert written == committed, f"{one.name}: run `python -m dashboards`"


def test_runbooks_may_be_anywhere(tmp_path: Path) -> None:
    CliRunner().invoke(
        main, ["--runbooks", "https://wiki.example/beacon/", "--out", str(tmp_path)], catch_exceptions=False
    )
    written = (tmp_path / "overview.json").read_text(encoding="utf-8")
    assert "https://wiki.example/beacon/WhatsAppDisconnected.md" in written
    assert "localhost:8081" not in written


def test_alerts_find_each_dashboard_by_its_uid() -> None:
    uids = {board["uid"] for board in COMMITTED.values()}
    assert uids == {f"beacon-{name}" for name in ("overview", "connection", "queue", "backup", "runtime")}
    linked = {
        rule["annotations"]["dashboard_url"].rpartition("/d/")[2]
        for path in RULES.glob("*.yml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    assert linked <= uids


def test_it_is_the_classic_schema(board: dict[str, Any]) -> None:
    assert board["schemaVersion"] == 39, "Grafana 11.0's; newer ones migrate it"
    assert board["id"] is None
    assert "__inputs" not in board
    types = {panel["type"] for panel in everything(board)}
    assert types <= {"row", "text", "stat", "table", "timeseries", "state-timeline", "heatmap"}


def test_nothing_is_hidden_in_a_menu_of_a_newer_grafana(board: dict[str, Any]) -> None:
    assert "placement" not in {key for one in (*board["links"], *board["annotations"]["list"]) for key in one}


def test_panels_have_ids_and_queries_have_letters(board: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in everything(board)]
    assert len(set(ids)) == len(ids)
    assert min(ids) > 0
    for panel in panels(board):
        letters = [target["refId"] for target in panel.get("targets", ())]
        assert letters == list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(letters)])


def test_titles_are_unique_within_their_row(board: dict[str, Any]) -> None:
    titles = [panel["title"] for panel in everything(board) if panel["type"] == "row"]
    assert len(set(titles)) == len(titles)


def layers(board: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """What is seen at first; then what is in each closed row, which has the room to itself."""
    closed = [panel["panels"] for panel in board["panels"] if panel["type"] == "row" and panel["collapsed"]]
    return [board["panels"], *closed]


def test_no_panel_lies_on_another(board: dict[str, Any]) -> None:
    for layer in layers(board):
        taken: dict[tuple[int, int], str] = {}
        for panel in layer:
            at = panel["gridPos"]
            assert at["x"] + at["w"] <= 24, panel["title"]
            for cell in itertools.product(
                range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])
            ):
                assert cell not in taken, f"{panel['title']} lies on {taken[cell]}"
                taken[cell] = panel["title"]


def test_rows_are_filled_from_left_to_right(board: dict[str, Any]) -> None:
    for layer in layers(board):
        widths: dict[int, int] = {}
        for panel in layer:
            top = panel["gridPos"]["y"]
            widths[top] = widths.get(top, 0) + panel["gridPos"]["w"]
        assert set(widths.values()) == {24}, f"{layer[0]['title']}: {widths}"


def test_only_known_metrics_are_asked_for(board: dict[str, Any]) -> None:
    known = {line.split()[0] for line in GOLDEN.read_text().splitlines() if line and line[0] != "#"}
    for question in questions(board["title"], board):
        for use in uses(question.expression):
            family = re.sub("_(bucket|count|sum|total)$", "", use.metric)
            assert {use.metric, family} & (known | NOT_OURS), question


def test_recording_rules_that_are_used_exist(board: dict[str, Any]) -> None:
    recorded = {
        rule["record"]
        for path in RULES.glob("*.yml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    used = {use.metric for one in questions(board["title"], board) for use in uses(one.expression)}
    assert {name for name in used if ":" in name} <= recorded


def test_latencies_lead_to_traces(board: dict[str, Any]) -> None:
    for panel in panels(board):
        targets = panel.get("targets", ())
        latency = any("histogram_quantile(" in target["expr"] for target in targets)
        if latency and panel["type"] != "stat" and panel["title"] not in OUTSIDE_OF_TRACES:
            assert sum(target["exemplar"] for target in targets) == 1, panel["title"]


def test_restarts_disconnects_and_alerts_are_marked(board: dict[str, Any]) -> None:
    names = [one["name"] for one in board["annotations"]["list"]]
    assert names == ["Annotations & Alerts", "Restarts and deployments", "Disconnects", "Alerts"]


def test_each_leads_to_the_others_with_the_same_time_and_choice(board: dict[str, Any]) -> None:
    (link,) = (link for link in board["links"] if link["type"] == "dashboards")
    assert (link["tags"], link["keepTime"], link["includeVars"]) == (["beacon"], True, True)
    assert "beacon" in board["tags"]


def test_links_within_grafana_lead_to_dashboards_that_exist(board: dict[str, Any]) -> None:
    uids = {one["uid"] for one in COMMITTED.values()}
    assert set(re.findall(r'"/d/([\w-]+)', json.dumps(board))) <= uids


def test_links_lead_to_runbooks_of_alerts_that_exist(board: dict[str, Any]) -> None:
    alerts = {
        rule["alert"]
        for path in RULES.glob("*.yml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    named = set(re.findall(r"/(WhatsApp\w+)\.md", json.dumps(board)))
    assert named, "no panel says what to do"
    assert named <= alerts


def test_every_state_of_the_connection_is_said_in_words_with_what_to_do() -> None:
    assert set(TITLES) == set(ADVICE) == {state.value for state in State}

"""The runbooks: one for each alert, and nothing in them that is not there."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import click
import promql_parser
import pytest

from service.cli import main
from service.config import Settings
from tests.unit.alerts.shipped import ALERTS, alerts, recorded

FOLDER: Final = ALERTS / "runbooks"
PAGES: Final = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
GOLDEN: Final = ALERTS.parent / "tests" / "golden" / "metrics.txt"
SECTIONS: Final = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
EVERY = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)

SUFFIXES: Final = ("_bucket", "_count", "_sum")
FROM_PROMETHEUS: Final = {"up", "ALERTS"}


@cache
def metrics() -> set[str]:
    """Every name that can stand in a query."""
    names = set(recorded()) | FROM_PROMETHEUS
    for line in GOLDEN.read_text().splitlines():
        if line and not line.startswith("#"):
            name, kind = line.split()[:2]
            names |= {name, *(name + suffix for suffix in SUFFIXES if kind == "histogram")}
    return names


@cache
def sources() -> str:
    """The whole service."""
    return "".join(path.read_text() for path in (ALERTS.parent / "service").rglob("*.py"))


def blocks(page: Path, language: str) -> Iterator[str]:
    """What stands in fences of that language, without its indentation."""
    for indent, body in re.findall(rf"^( *)```{language}\n(.*?)^ *```$", page.read_text(), re.M | re.S):
        yield "\n".join(line.removeprefix(indent) for line in body.rstrip().split("\n"))


def queries(page: Path) -> Iterator[str]:
    """Each block is one query, or one on each line."""
    for block in blocks(page, "promql"):
        try:
            promql_parser.parse(block)
        except ValueError:
            yield from block.split("\n")
        else:
            yield block


def commands(text: str) -> Iterator[list[str]]:
    """The words behind `beacon` of every command in the text."""
    for found in re.findall(r"^ *beacon (.+)$|`beacon ([a-z][^`]+)`", text, re.M):
        yield shlex.split("".join(found))


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert {page.stem for page in PAGES} == {alert.name for alert in alerts()}


@EVERY
def test_a_runbook_is_one_page_with_four_sections(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.stem}\n")
    assert re.findall(r"^## (.+)$", text, re.M) == SECTIONS
    assert len(text.splitlines()) < 90


@EVERY
def test_every_metric_that_a_runbook_names_exists(page: Path) -> None:
    named = set(re.findall(r"\b(?:whatsapp|process|python)_[a-z_]+\b", page.read_text()))
    named |= set(re.findall(r"account:\w+:\w+", page.read_text()))
    recorded_parts = {name.split(":")[1] for name in recorded()}
    assert named - recorded_parts <= metrics()


@EVERY
def test_prometheus_can_read_every_query_of_a_runbook(page: Path) -> None:
    for query in queries(page):
        promql_parser.parse(query)


@pytest.mark.parametrize(
    "text",
    [
        *(pytest.param(page.read_text(), id=page.stem) for page in (*PAGES, FOLDER / "README.md")),
        *(pytest.param(a.annotations["description"], id=f"{a.id}-description") for a in alerts()),
    ],
)
def test_every_command_that_people_are_told_to_run_exists(text: str) -> None:
    for given in commands(text.replace("{{ $labels.state }}", "dead")):
        command: click.Command | None = main
        words = iter(given)
        while isinstance(command, click.Group):
            command = command.get_command(click.Context(main), next(words))
        assert command is not None, f"there is no beacon {shlex.join(given)}"
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known


@EVERY
def test_every_setting_that_a_runbook_names_exists(page: Path) -> None:
    named = set(re.findall(r"`([A-Z][A-Z_]+)[=`]|\b([A-Z]+_[A-Z_]+)\b", page.read_text()))
    settings = {a or b for a, b in named} - {"CPU"}
    assert {name for name in settings if not name.startswith("OTEL_")} <= {
        name.upper() for name in Settings.model_fields
    }


@EVERY
def test_every_log_line_that_a_runbook_names_is_written(page: Path) -> None:
    for event in re.findall(r"log[^.`]*lines? `([a-z]+\.[a-z_]+)`|`([a-z]+\.[a-z_]+)` has", page.read_text()):
        assert f'"{"".join(event)}"' in sources(), event


@EVERY
def test_a_runbook_that_another_one_points_to_exists(page: Path) -> None:
    assert set(re.findall(r"WhatsApp[A-Z]\w+", page.read_text())) <= {other.stem for other in PAGES}


def test_the_metrics_of_the_rules_exist() -> None:
    expressions = [*recorded().values(), *(alert.expr for alert in alerts())]
    used = {name for text in expressions for name in re.findall(r"(?<![:\w])whatsapp_\w+(?!\w*:)", text)}
    labels = {"whatsapp_connection_state"}
    assert used - labels <= metrics()

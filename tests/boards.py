"""The committed dashboards, read as Grafana would read them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import promql_parser as promql

from dashboards.__main__ import BOARDS

FOLDER: Final = Path(__file__).parents[1] / "dashboards"
RULES: Final = Path(__file__).parents[1] / "alerts" / "rules"
VARIABLES: Final = ("job", "instance", "account")


@dataclass(frozen=True, slots=True)
class Question:
    """One query, with where it stands: a panel's, a variable's, or an annotation's."""

    board: str
    place: str
    expression: str
    now: bool = False
    range_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.board} / {self.place}: {self.expression}"


@dataclass(frozen=True, slots=True)
class Use:
    """A selector in a query: its metric, its matchers (`name`, operator, value) and the call it is in."""

    metric: str
    matchers: frozenset[tuple[str, str, str]]
    inside: str | None


def load() -> dict[str, dict[str, Any]]:
    """Each dashboard by its name."""
    return {
        board.name: json.loads((FOLDER / f"{board.name}.json").read_text(encoding="utf-8"))
        for board in BOARDS
    }


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All panels but rows; those of closed rows too."""
    for panel in board["panels"]:
        yield from panel["panels"] if panel["type"] == "row" else (panel,)


def questions(name: str, board: dict[str, Any]) -> Iterator[Question]:
    """What panels and annotations ask."""
    for panel in panels(board):
        for target in panel.get("targets", ()):
            place = f"{panel['title']} {target['refId']}"
            yield Question(name, place, target["expr"], target.get("instant", False))
    for annotation in board["annotations"]["list"]:
        if "expr" in annotation:
            yield Question(name, annotation["name"], annotation["expr"])


def substituted(expression: str, *, window: str, span: str) -> str:
    """With `All` chosen in every variable, and these in place of Grafana's own."""
    for variable in VARIABLES:
        expression = expression.replace(f"${variable}", ".+")
    expression = expression.replace("$__rate_interval", window).replace("$__range", span)
    assert "$" not in re.sub(r'"\$\d"', "", expression), f"something is left to put in: {expression}"
    return expression


def uses(expression: str) -> list[Use]:
    """The selectors of a query. Raises ValueError when it is no PromQL."""
    known = expression.replace("$__rate_interval", "5m").replace("$__range", "1h")
    return list(_uses(promql.parse(known), None))


def _uses(node: Any, inside: str | None) -> Iterator[Use]:
    match node:
        case promql.VectorSelector():
            matchers = node.matchers.matchers
            said = frozenset((one.name, str(one.op).rpartition(".")[2], one.value) for one in matchers)
            yield Use(node.name or "", said, inside)
        case promql.MatrixSelector():
            yield from _uses(node.vector_selector, inside)
        case promql.Call():
            for argument in node.args:
                yield from _uses(argument, node.func.name)
        case promql.BinaryExpr():
            yield from _uses(node.lhs, None)
            yield from _uses(node.rhs, None)
        case promql.AggregateExpr() | promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from _uses(node.expr, None)

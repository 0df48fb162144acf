"""The shipped rules, as data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ALERTS: Final = Path(__file__).parents[3] / "alerts"
RULE_FILES: Final = sorted((ALERTS / "rules").glob("*.yml"))
TEST_FILES: Final = sorted((ALERTS / "tests").glob("*.yml"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alerting rule."""

    name: str
    expr: str
    wait: str | None
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def id(self) -> str:
        """Unique: some alerts have a rule for each window."""
        return "-".join([self.name, *(v for k, v in self.labels.items() if k == "window")])


def groups() -> Iterator[dict[str, Any]]:
    """The rule groups of all files."""
    for path in RULE_FILES:
        yield from yaml.safe_load(path.read_text())["groups"]


def alerts() -> list[Alert]:
    """All alerting rules."""
    return [
        Alert(
            name=rule["alert"],
            expr=rule["expr"],
            wait=rule.get("for"),
            labels=rule["labels"],
            annotations=rule["annotations"],
        )
        for group in groups()
        for rule in group["rules"]
        if "alert" in rule
    ]


def recorded() -> dict[str, str]:
    """The expressions of the recording rules, by name."""
    return {rule["record"]: rule["expr"] for group in groups() for rule in group["rules"] if "record" in rule}

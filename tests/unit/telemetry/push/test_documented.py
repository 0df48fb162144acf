"""What docs/push.md and the Alloy example say is what the program reads."""

import re
from pathlib import Path
from typing import Final

from service.telemetry.push import settings

ROOT: Final = Path(__file__).parents[4]
PAGE: Final = (ROOT / "docs/push.md").read_text()
ALLOY: Final = (ROOT / "dashboards/alloy/config.alloy").read_text()
SDK: Final = {
    *("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"),
}
"""Read by OpenTelemetry's SDK, not by us."""


class Noticed(dict[str, str]):
    """An environment that remembers what was asked of it."""

    def __init__(self, given: dict[str, str]) -> None:
        super().__init__(given)
        self.asked: set[str] = set()

    def get(self, name: str, default: object = None) -> str:
        self.asked.add(name)
        return super().get(name, str(default or ""))


def documented() -> set[str]:
    """The variables of the table, written out."""
    table = PAGE[PAGE.index("| Variable |") :].split("\n\n")[0]
    names = set()
    for line in table.strip().splitlines()[2:]:
        first, *others = re.findall(r"`(\w+)`", line.split("|")[1])
        names.add(first)
        names |= {other if other.startswith("OTEL_") else f"OTEL_BSP{other}" for other in others}
    return names


def test_every_variable_that_is_read_is_in_the_table_and_every_one_in_the_table_is_read() -> None:
    environment = Noticed({settings.ENDPOINT: "https://otlp.nr-data.net", "NEW_RELIC_LICENSE_KEY": "x"})
    settings.read(environment)
    shared = {re.sub(r"^(OTEL_EXPORTER_OTLP_)(TRACES|METRICS)_", r"\1", name) for name in environment.asked}
    said_beside = {f"OTEL_EXPORTER_OTLP_{what}" for what in ("CLIENT_CERTIFICATE", "CLIENT_KEY", "PROTOCOL")}
    preference = {"OTEL_EXPORTER_OTLP_TEMPORALITY_PREFERENCE": settings.PREFERENCE}
    read = {preference.get(name, name) for name in shared} - said_beside
    assert documented() - SDK == read | {"OTEL_METRICS_EXPORTER", "OTEL_TRACES_EXPORTER"}
    assert documented() >= SDK
    assert "CLIENT_CERTIFICATE" in PAGE
    assert "CLIENT_KEY" in PAGE


def test_the_defaults_of_the_table_are_the_codes() -> None:
    read = settings.read({settings.ENDPOINT: "http://127.0.0.1:4318"})
    assert read.metrics is not None
    cells = {
        re.findall(r"`(\w+)`", row.split("|")[1])[0]: re.findall(r"`([^`]+)`", row.split("|")[2])
        for row in PAGE.splitlines()
        if row.startswith("| `")
    }
    assert cells["OTEL_EXPORTER_OTLP_TIMEOUT"] == [f"{read.metrics.timeout_s * 1000:.0f}"]
    assert cells["OTEL_EXPORTER_OTLP_COMPRESSION"] == ["gzip" if read.metrics.gzip else "none"]
    assert cells[settings.PREFERENCE] == [read.temporality.value]
    assert cells["OTEL_METRIC_EXPORT_INTERVAL"] == [f"{read.interval_s * 1000:.0f}"]
    assert cells["OTEL_BSP_SCHEDULE_DELAY"] == [
        f"{read.span_delay_s * 1000:.0f}",
        str(read.span_queue),
        str(read.span_batch),
    ]


def test_what_the_alloy_example_hands_on_is_taken_by_a_component_that_is_there() -> None:
    there = {f"{kind}.{label}" for kind, label in re.findall(r'^([\w.]+) "(\w+)" \{$', ALLOY, re.MULTILINE)}
    taken = set(re.findall(r"\b([\w.]+)\.(?:receiver|input|handler)[\],\s]", ALLOY))
    assert taken <= there
    assert there - taken == {"prometheus.scrape.beacon", "otelcol.receiver.otlp.beacon"}
    assert ALLOY.count("{") == ALLOY.count("}")


def test_every_variable_of_the_alloy_example_is_explained() -> None:
    page = (ROOT / "docs/grafana-cloud.md").read_text()
    asked = set(re.findall(r'sys\.env\("(\w+)"\)', ALLOY))
    assert asked == set(re.findall(r"^(\w+)=", page.split("```sh")[1].split("```")[0], re.MULTILINE))

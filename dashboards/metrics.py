"""Every metric that the service has: `python -m dashboards.metrics` writes the golden list and METRICS.md.

`tests/golden/metrics.txt` is what dashboards, alerts and their tests may rely on. A line of it:

    NAME TYPE {LABEL=VALUE|VALUE LABEL} HELP

NAME is as it is exposed (a histogram's without `_bucket`, `_sum` and `_count`); values are those that exist
from the start, left out where there are more than a few or where they are facts of an installation.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Metric

from dashboards.uses import COMPONENTS
from service.assembly import EngineCommand, assembled
from service.config import Settings
from service.datadir import DataDir

ROOT: Final = Path(__file__).resolve().parent.parent
GOLDEN: Final = ROOT / "tests" / "golden" / "metrics.txt"
PAGE: Final = ROOT / "dashboards" / "METRICS.md"

FEW: Final = 13
"""The connection has so many states, and they are worth naming."""

INSTALLATION: Final = frozenset({"account", "version", "revision", "python_version", "neonize_version"}) | {
    "sqlite_version"
}
SUFFIXES: Final = {"counter": "_total", "info": "_info"}


@dataclass(frozen=True, slots=True)
class Described:
    """A metric as it is exposed. `labels` have their values, none where they are many or not closed."""

    name: str
    type: str
    labels: Mapping[str, Sequence[str]]
    help: str

    @property
    def unit(self) -> str:
        """The base unit in the name; empty for a count of things."""
        bare = self.name.removesuffix("_total")
        if bare.endswith("_timestamp_seconds"):
            return "Unix time"
        return next((unit for unit in ("seconds", "bytes") if bare.endswith(f"_{unit}")), "")

    def line(self) -> str:
        """Its line of the golden list."""
        labels = " ".join(
            f"{name}={'|'.join(values)}" if values else name for name, values in self.labels.items()
        )
        return f"{self.name} {self.type} {{{labels}}} {self.help}"


async def exposed() -> CollectorRegistry:
    """The registry of a service that was assembled with everything on, and has not run."""
    with tempfile.TemporaryDirectory(prefix="beacon-metrics-") as folder, DataDir(Path(folder)) as data:
        settings = Settings(data_dir=data.path)
        async with assembled(settings, data, EngineCommand()) as parts:
            return parts.registry


def described(registry: CollectorRegistry) -> list[Described]:
    """Every metric, by name."""
    found = [_described(family) for family in registry.collect()]
    return sorted(found, key=lambda metric: metric.name)


def golden(metrics: Iterable[Described]) -> str:
    """The golden list."""
    return "".join(f"{metric.line()}\n" for metric in metrics)


def page(metrics: Iterable[Described]) -> str:
    """METRICS.md. Raises KeyError for a metric of which nobody said what it is good for, and the reverse."""
    by_name = {metric.name: metric for metric in metrics}
    used = {name for component in COMPONENTS for name in component.uses}
    if used != by_name.keys():
        raise KeyError(f"dashboards/uses.py and the service differ in {sorted(used ^ by_name.keys())}")
    parts = [_HEAD]
    for component in COMPONENTS:
        parts.append(f"\n## {component.title}\n\n{component.about}\n\n{_COLUMNS}")
        parts += [_row(by_name[name], use) for name, use in component.uses.items()]
    return "".join(parts)


def main() -> int:
    """Write both files."""
    for name in [name for name in os.environ if name.lower() in Settings.model_fields]:
        del os.environ[name]
    metrics = described(asyncio.run(exposed()))
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(golden(metrics))
    PAGE.write_text(page(metrics))
    return 0


def _described(family: Metric) -> Described:
    name = family.name + SUFFIXES.get(family.type, "")
    values: dict[str, dict[str, None]] = {}
    for sample in family.samples:
        for label, value in sample.labels.items():
            values.setdefault(label, {})[value] = None
    labels = {
        label: () if label in INSTALLATION or (len(found) > FEW and label != "le") else tuple(found)
        for label, found in values.items()
    }
    return Described(name, family.type, labels, family.documentation)


def _row(metric: Described, use: str) -> str:
    labels = "<br>".join(
        f"`{label}`" + (f": {', '.join(values)}" if values else "")
        for label, values in metric.labels.items()
        if label != "account"
    )
    return f"| `{metric.name}` | {metric.type} | {metric.unit} | {labels} | {metric.help} {use} |\n"


_COLUMNS: Final = (
    "| metric | type | unit | labels | what it says, and what it is good for |\n|---|---|---|---|---|\n"
)

_HEAD: Final = """# Metrics

Written by `python -m dashboards.metrics` from the service itself; a test holds the two together.

Every metric of `whatsapp_...` has the label `account`, the name of the account as in the setting `ACCOUNT`.
All series exist from the start of the service, at 0, so that `rate()` and `increase()` see the first event.
A histogram has `_bucket` (by `le`), `_sum` and `_count`; where traces are exported, those of latencies carry
exemplars that lead to one, for scrapers that ask for OpenMetrics as Prometheus does.
Instants are Unix time: `time() - ...` is how long ago. Never is a phone number, name or text in a label.
"""

if __name__ == "__main__":
    sys.exit(main())

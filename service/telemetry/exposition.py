"""The registry as text for scrapers, in a small part of the time that prometheus_client takes for it.

A scrape is rendered on the event loop, where messages wait meanwhile. Two thousand series differ from one
scrape to the next in their values alone: what stands before the value is written once and kept. And nearly
all of them are of counters and histograms, whose values are read where the library keeps them (0.26), instead
of having it make objects of them. What comes out is what prometheus_client would write, byte for byte: a test
holds the two together, and with them the attributes that are read here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

_number: Final[Callable[[float], str]] = floatToGoString
_SMALL: Final = {float(number): f"{number}.0" for number in range(1000)}
_TEXT_TYPES: Final = {"info": "gauge", "stateset": "gauge", "unknown": "untyped"}
_TEXT_SUFFIXES: Final = {"counter": "_total", "info": "_info"}


@dataclass(frozen=True, slots=True)
class _Family:
    """One metric: what says what it is, and its series as (what stands before the value, value, exemplar)."""

    name: str
    type: str
    unit: str
    help: str
    series: Sequence[tuple[str, float, Exemplar | None]]


class Exposition:
    """Renders one registry, whose metrics and labels have names that Prometheus 2 allows."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._starts: dict[tuple[str, ...], str] = {}
        self._child_starts: dict[tuple[str, ...], tuple[str, ...]] = {}

    def text(self) -> bytes:
        """Prometheus text, version 0.0.4."""
        out: list[str] = []
        for family in self._families():
            name = family.name + _TEXT_SUFFIXES.get(family.type, "")
            words = family.help.replace("\\", r"\\").replace("\n", r"\n")
            out.append(f"# HELP {name} {words}\n# TYPE {name} {_TEXT_TYPES.get(family.type, family.type)}\n")
            out += [f"{start}{_SMALL.get(value) or _number(value)}\n" for start, value, _ in family.series]
        return "".join(out).encode()

    def openmetrics(self) -> bytes:
        """OpenMetrics, version 1.0.0: with exemplars."""
        out: list[str] = []
        for family in self._families():
            out.append(f"# HELP {family.name} {_escaped(family.help)}\n# TYPE {family.name} {family.type}\n")
            if family.unit:
                out.append(f"# UNIT {family.name} {family.unit}\n")
            for start, value, exemplar in family.series:
                end = "" if exemplar is None else _exemplar(exemplar)
                out.append(f"{start}{_SMALL.get(value) or _number(value)}{end}\n")
        out.append("# EOF\n")
        return "".join(out).encode()

    def _families(self) -> Iterator[_Family]:
        with self._registry._lock:
            collectors = list(self._registry._collector_to_names)
        for collector in collectors:
            if type(collector) is Counter:
                yield self._family(collector, self._of_counter(collector))
            elif type(collector) is Histogram:
                yield self._family(collector, self._of_histogram(collector))
            else:
                for metric in collector.collect():
                    yield _Family(
                        metric.name,
                        metric.type,
                        metric.unit,
                        metric.documentation,
                        [(self._start(s.name, s.labels), s.value, s.exemplar) for s in metric.samples],
                    )

    @staticmethod
    def _family(metric: Counter | Histogram, series: Sequence[tuple[str, float, Exemplar | None]]) -> _Family:
        return _Family(metric._name, metric._type, metric._unit, metric._documentation, series)

    def _of_counter(self, counter: Counter) -> list[tuple[str, float, Exemplar | None]]:
        return [
            (self._child(counter, values, child)[0], child._value.get(), child._value.get_exemplar())
            for values, child in _children(counter)
        ]

    def _of_histogram(self, histogram: Histogram) -> list[tuple[str, float, Exemplar | None]]:
        series: list[tuple[str, float, Exemplar | None]] = []
        for values, child in _children(histogram):
            starts = self._child(histogram, values, child)
            total = 0.0
            for start, bucket in zip(starts, child._buckets, strict=False):
                total += bucket.get()
                series.append((start, total, bucket.get_exemplar()))
            series.append((starts[len(child._buckets)], total, None))
            if len(starts) > len(child._buckets) + 1:
                series.append((starts[-1], child._sum.get(), None))
        return series

    def _child(self, metric: Counter | Histogram, values: tuple[str, ...], child: Any) -> tuple[str, ...]:
        """What stands before the values of one set of labels, in the order of the library's samples."""
        key = (metric._name, *values)
        if (starts := self._child_starts.get(key)) is None:
            labels = dict(zip(metric._labelnames, values, strict=True))
            samples = child._child_samples()
            starts = tuple(self._start(metric._name + s.name, labels | s.labels) for s in samples)
            self._child_starts[key] = starts
        return starts

    def _start(self, name: str, labels: Mapping[str, str]) -> str:
        key = (name, *labels.values())
        if (start := self._starts.get(key)) is None:
            pairs = ",".join(f'{label}="{_escaped(value)}"' for label, value in sorted(labels.items()))
            start = self._starts[key] = f"{name}{{{pairs}}} " if pairs else f"{name} "
        return start


def _children(metric: Counter | Histogram) -> list[tuple[tuple[str, ...], Any]]:
    if not metric._labelnames:
        return [((), metric)]
    with metric._lock:
        return [(tuple(values), child) for values, child in metric._metrics.items()]


def _exemplar(exemplar: Exemplar) -> str:
    pairs = ",".join(f'{label}="{_escaped(value)}"' for label, value in sorted(exemplar.labels.items()))
    at = "" if exemplar.timestamp is None else f" {exemplar.timestamp}"
    return f" # {{{pairs}}} {_number(exemplar.value)}{at}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

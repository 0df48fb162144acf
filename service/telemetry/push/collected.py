"""What the registry says at one moment: taken on the event loop, to be translated elsewhere.

In a small part of the time that the registry's own `collect` takes: counters and histograms, nearly all that
there is, are read where the library keeps them (0.26), and no object is made for each bucket.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from service.telemetry.registry import children, collectors, exemplar_of, value_of

Labels = tuple[tuple[str, str], ...]


class Number(NamedTuple):
    """One series of a counter, a gauge, an info or a state set."""

    labels: Labels
    value: float
    exemplar: Exemplar | None


class Observations(NamedTuple):
    """One series of a histogram; `counts` has one more than `bounds`, what was above the last bound."""

    labels: Labels
    bounds: Sequence[float]
    counts: tuple[int, ...]
    sum: float
    exemplars: Sequence[Exemplar]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric under the name that its series have, without suffixes of a histogram's."""

    name: str
    type: str
    unit: str
    documentation: str
    numbers: Sequence[Number] = ()
    histograms: Sequence[Observations] = ()


def collected(registry: CollectorRegistry) -> list[Family]:
    """All metrics; a histogram is one only when it is the library's own."""
    return [family for collector in collectors(registry) for family in _families(collector)]


def _families(collector: Collector) -> Iterator[Family]:
    if isinstance(collector, Counter):
        name = f"{collector._name}_total"
        yield Family(name, "counter", collector._unit, collector._documentation, _numbers(collector))
    elif isinstance(collector, Histogram):
        series = _observations(collector)
        yield Family(
            collector._name, "histogram", collector._unit, collector._documentation, histograms=series
        )
    else:
        for metric in collector.collect():
            yield _asked(metric)


def _numbers(counter: Counter) -> list[Number]:
    names = counter._labelnames
    return [
        Number(tuple(zip(names, values, strict=True)), value_of(child._value), exemplar_of(child._value))
        for values, child in children(counter)
    ]


def _observations(histogram: Histogram) -> list[Observations]:
    names = histogram._labelnames
    return [
        Observations(
            tuple(zip(names, values, strict=True)),
            child._upper_bounds[:-1],
            tuple(map(int, map(value_of, child._buckets))),
            value_of(child._sum),
            [found for found in map(exemplar_of, child._buckets) if found is not None],
        )
        for values, child in children(histogram)
    ]


def _asked(metric: Metric) -> Family:
    samples = metric.samples
    if metric.type == "counter":  # without when a series began, where a registry still tells that
        samples = [sample for sample in samples if sample.name.endswith("_total")]
    name = samples[0].name if samples else metric.name
    series = [Number(tuple(sample.labels.items()), sample.value, sample.exemplar) for sample in samples]
    return Family(name, metric.type, metric.unit, metric.documentation, series)

"""What a Prometheus registry collects, as OTLP metrics; what was accepted decides what a delta counts from.

Follows the OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility": names stay as they are,
counters become monotonic sums, info and state sets sums that may fall, classic histograms explicit buckets.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp
from opentelemetry.sdk.resources import Resource
from prometheus_client.samples import Exemplar

import service
from service.telemetry.push.collected import Family, Labels
from service.telemetry.push.points import NS, describe, histogram, number, resource_message

Series = tuple[str, Labels]
"""The name of a metric and the labels of one of its series, a histogram's `le` not among them."""

CUMULATIVE: Final = otlp.AGGREGATION_TEMPORALITY_CUMULATIVE
DELTA: Final = otlp.AGGREGATION_TEMPORALITY_DELTA
SCOPE: Final = InstrumentationScope(name="beacon", version=service.__version__)


class Temporality(StrEnum):
    """Since when a counter or a histogram counts."""

    CUMULATIVE = "cumulative"  # the start of the process
    DELTA = "delta"  # the last export that was accepted


@dataclass(frozen=True, slots=True)
class Observed:
    """A histogram: observations by bucket, and their sum."""

    counts: tuple[int, ...]
    sum: float


@dataclass(slots=True)
class Told:
    """What the receiver knows as of a moment, Unix time in nanoseconds."""

    at_ns: int
    counters: dict[Series, float] = field(default_factory=dict)
    histograms: dict[Series, Observed] = field(default_factory=dict)
    gauges: set[Series] = field(default_factory=set)
    """Those that had a value."""


@dataclass(frozen=True, slots=True)
class Translation:
    """A request, and what the receiver knows if it accepts it."""

    body: bytes
    points: int
    told: Told


class Translator:
    """Makes one request after the other for one receiver.

    With delta temporality a request counts from the last one that was accepted: what a refused one carried is
    in the next, and the sum of the accepted ones is the counter. A series that did not change is left out
    then, except for its first time, so that it exists.
    """

    def __init__(self, *, resource: Resource, temporality: Temporality, started_at_ns: int) -> None:
        self._resource = resource_message(resource)
        self._delta = temporality is Temporality.DELTA
        self._started_ns = started_at_ns
        self._told = Told(started_at_ns)

    def translate(self, families: Iterable[Family], *, at_ns: int) -> Translation:
        """A request with all that was collected at this moment. Changes nothing; any thread may ask."""
        request = ExportMetricsServiceRequest()
        scope = request.resource_metrics.add(resource=self._resource).scope_metrics.add(scope=SCOPE)
        points = _Points(self._told, delta=self._delta, started_ns=self._started_ns, at_ns=at_ns)
        for family in families:
            before = points.count
            points.put(family, scope.metrics.add())
            if points.count == before:
                del scope.metrics[-1]
        return Translation(request.SerializeToString(), points.count, points.told)

    def accepted(self, translation: Translation) -> None:
        """The receiver has it."""
        self._told = translation.told


class _Points:
    """The points of one request, and what is known once they have arrived."""

    def __init__(self, known: Told, *, delta: bool, started_ns: int, at_ns: int) -> None:
        self._known = known
        self._delta = delta
        self._started_ns = started_ns
        self._since_ns = known.at_ns if delta else started_ns
        self._at_ns = at_ns
        self.told = Told(at_ns)
        self.count = 0

    def put(self, family: Family, metric: otlp.Metric) -> None:
        """Write the family; without points it is none, and so is a summary, which we never use."""
        describe(metric, family)
        temporality = DELTA if self._delta else CUMULATIVE
        match family.type:
            case "counter":
                metric.sum.is_monotonic, metric.sum.aggregation_temporality = True, temporality
                self._counters(family, metric.sum.data_points.add)
            case "histogram":
                metric.histogram.aggregation_temporality = temporality
                self._histograms(family, metric.histogram.data_points.add)
            case "info" | "stateset":
                metric.sum.aggregation_temporality = CUMULATIVE  # delta is for what only grows
                self._gauges(family, metric.sum.data_points.add, start_ns=self._started_ns)
            case "gauge" | "unknown":
                self._gauges(family, metric.gauge.data_points.add, start_ns=0)

    def _counters(self, family: Family, add: Callable[[], otlp.NumberDataPoint]) -> None:
        for labels, now, exemplar in family.numbers:
            series = family.name, labels
            before = self._known.counters.get(series)
            if not self._delta:
                value = self.told.counters[series] = now
            else:
                value = now - (before or 0.0)
                self.told.counters[series] = (before or 0.0) + value  # as it adds up there, rounding included
                if before is not None and value == 0.0:
                    continue
            exemplars = () if exemplar is None else self._new([exemplar])
            self.count += 1
            number(add(), labels, value, start_ns=self._since_ns, at_ns=self._at_ns, exemplars=exemplars)

    def _gauges(self, family: Family, add: Callable[[], otlp.NumberDataPoint], *, start_ns: int) -> None:
        for labels, value, _ in family.numbers:
            series = family.name, labels
            if not math.isnan(value):
                self.told.gauges.add(series)
            elif series not in self._known.gauges:
                continue  # that it has no value is told once
            self.count += 1
            number(add(), labels, value, start_ns=start_ns, at_ns=self._at_ns)

    def _histograms(self, family: Family, add: Callable[[], otlp.HistogramDataPoint]) -> None:
        for one in family.histograms:
            series, counts, total = (family.name, one.labels), one.counts, one.sum
            before = self._known.histograms.get(series)
            self.told.histograms[series] = Observed(counts, total)
            if self._delta and before is not None:
                if counts == before.counts:
                    self.told.histograms[series] = before
                    continue
                total -= before.sum
                self.told.histograms[series] = Observed(counts, before.sum + total)
                counts = tuple(now - then for now, then in zip(counts, before.counts, strict=True))
            self.count += 1
            histogram(
                add(),
                one.labels,
                bounds=one.bounds,
                buckets=counts,
                total=total,
                start_ns=self._since_ns,
                at_ns=self._at_ns,
                exemplars=self._new(one.exemplars),
            )

    def _new(self, exemplars: Iterable[Exemplar]) -> list[Exemplar]:
        """Those that the receiver has not got; a registry shows the latest of each bucket again and again."""
        since_s = self._known.at_ns / NS
        return [one for one in exemplars if one.timestamp is None or float(one.timestamp) > since_s]

"""Points of OTLP metrics: from samples of a Prometheus registry, numbers and histograms."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.sdk.resources import Resource
from prometheus_client import Metric
from prometheus_client.samples import Exemplar, Sample

NS: Final = 1_000_000_000
TRACE_ID: Final = "trace_id"
SPAN_ID: Final = "span_id"
NO_VALUE: Final = int(otlp.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK)


def resource_message(resource: Resource) -> ResourceMessage:
    """The resource that spans carry too."""
    return ResourceMessage(attributes=[attribute(key, value) for key, value in resource.attributes.items()])


def number(
    labels: Mapping[str, str], value: float, *, start_ns: int, at_ns: int, exemplars: Iterable[Exemplar] = ()
) -> otlp.NumberDataPoint:
    """One number; NaN becomes "no recorded value", as Prometheus marks a series that has ended."""
    point = otlp.NumberDataPoint(
        attributes=_labels(labels),
        start_time_unix_nano=start_ns,
        time_unix_nano=at_ns,
        exemplars=[_exemplar(exemplar, at_ns) for exemplar in exemplars],
    )
    if math.isnan(value):
        point.flags = NO_VALUE
    else:
        point.as_double = value
    return point


def histogram(
    labels: Mapping[str, str],
    *,
    bounds: Sequence[float],
    buckets: Sequence[int],
    total: float,
    start_ns: int,
    at_ns: int,
    exemplars: Iterable[Exemplar],
) -> otlp.HistogramDataPoint:
    """One histogram; `buckets` has one more than `bounds`, the observations above the last bound."""
    return otlp.HistogramDataPoint(
        attributes=_labels(labels),
        start_time_unix_nano=start_ns,
        time_unix_nano=at_ns,
        count=sum(buckets),
        sum=total,
        bucket_counts=buckets,
        explicit_bounds=bounds,
        exemplars=[_exemplar(exemplar, at_ns) for exemplar in exemplars],
    )


def described(family: Metric, name: str) -> otlp.Metric:
    """A metric without points; where it came from is told as the specification asks."""
    return otlp.Metric(
        name=name,
        description=family.documentation,
        unit=family.unit,
        metadata=[attribute("prometheus.type", family.type)],
    )


class Buckets:
    """The samples of one series of a classic histogram, gathered."""

    def __init__(self) -> None:
        self._below: dict[float, float] = {}
        self.sum = 0.0
        self.exemplars: list[Exemplar] = []

    def add(self, sample: Sample) -> None:
        """Take a `_bucket` or `_sum` sample; `_count` is what the last bucket says."""
        if sample.name.endswith("_bucket"):
            self._below[float(sample.labels["le"])] = sample.value
            if sample.exemplar is not None:
                self.exemplars.append(sample.exemplar)
        elif sample.name.endswith("_sum"):
            self.sum = sample.value

    @property
    def bounds(self) -> list[float]:
        """Upper bounds, without the infinite one."""
        return sorted(self._below)[:-1]

    @property
    def counts(self) -> tuple[int, ...]:
        """Observations in each bucket, those of the buckets below not counted again."""
        below = [int(self._below[bound]) for bound in sorted(self._below)]
        return tuple(here - before for before, here in zip([0, *below], below, strict=False))


def _labels(labels: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in labels.items()]


def attribute(key: str, value: object) -> KeyValue:
    return KeyValue(key=key, value=_any(value))


def _any(value: object) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
        case Sequence():
            return AnyValue(array_value=ArrayValue(values=[_any(one) for one in value]))
    return AnyValue(string_value=str(value))


def _exemplar(exemplar: Exemplar, at_ns: int) -> otlp.Exemplar:
    ids = {name: exemplar.labels[name] for name in (TRACE_ID, SPAN_ID) if name in exemplar.labels}
    return otlp.Exemplar(
        time_unix_nano=at_ns if exemplar.timestamp is None else int(float(exemplar.timestamp) * NS),
        as_double=exemplar.value,
        trace_id=bytes.fromhex(ids.get(TRACE_ID, "")),
        span_id=bytes.fromhex(ids.get(SPAN_ID, "")),
        filtered_attributes=_labels({k: v for k, v in exemplar.labels.items() if k not in ids}),
    )

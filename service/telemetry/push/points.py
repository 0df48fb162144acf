"""Points of OTLP metrics: from series of a Prometheus registry, numbers and histograms.

The labels of a series are the same each time, and so are the bytes that say them: they are made once, and put
into the point as they are (protobuf.dev, "Encoding").
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.sdk.resources import Resource
from prometheus_client.samples import Exemplar

from service.telemetry.push.collected import Family, Labels

NS: Final = 1_000_000_000
TRACE_ID: Final = "trace_id"
SPAN_ID: Final = "span_id"
SERIES: Final = 4096
"""Of each kind, of which the labels are kept: more than there are."""
NO_VALUE: Final = int(otlp.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK)


def resource_message(resource: Resource) -> ResourceMessage:
    """The resource that spans carry too."""
    return ResourceMessage(attributes=[attribute(key, value) for key, value in resource.attributes.items()])


def number(
    point: otlp.NumberDataPoint,
    labels: Labels,
    value: float,
    *,
    start_ns: int,
    at_ns: int,
    exemplars: Iterable[Exemplar] = (),
) -> None:
    """Make it one number; NaN becomes "no recorded value", as Prometheus marks a series that has ended."""
    point.MergeFromString(_of_number(labels))
    point.start_time_unix_nano = start_ns
    point.time_unix_nano = at_ns
    for exemplar in exemplars:
        point.exemplars.append(_exemplar(exemplar, at_ns))
    if math.isnan(value):
        point.flags = NO_VALUE
    else:
        point.as_double = value


def histogram(
    point: otlp.HistogramDataPoint,
    labels: Labels,
    *,
    bounds: Sequence[float],
    buckets: Sequence[int],
    total: float,
    start_ns: int,
    at_ns: int,
    exemplars: Iterable[Exemplar],
) -> None:
    """Make it one histogram; `buckets` has one more than `bounds`, the observations above the last bound."""
    point.MergeFromString(_of_histogram(labels))
    point.start_time_unix_nano = start_ns
    point.time_unix_nano = at_ns
    point.count = sum(buckets)
    point.sum = total
    point.bucket_counts.extend(buckets)
    point.explicit_bounds.extend(bounds)
    for exemplar in exemplars:
        point.exemplars.append(_exemplar(exemplar, at_ns))


@lru_cache(SERIES)
def _of_number(labels: Labels) -> bytes:
    return otlp.NumberDataPoint(attributes=_labels(labels)).SerializeToString()


@lru_cache(SERIES)
def _of_histogram(labels: Labels) -> bytes:
    return otlp.HistogramDataPoint(attributes=_labels(labels)).SerializeToString()


def describe(metric: otlp.Metric, family: Family) -> None:
    """Everything but its points; where it came from is told as the specification asks."""
    metric.name = family.name
    metric.description = family.documentation
    metric.unit = family.unit
    metric.metadata.append(attribute("prometheus.type", family.type))


def _labels(labels: Iterable[tuple[str, str]]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in labels]


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
        filtered_attributes=_labels((k, v) for k, v in exemplar.labels.items() if k not in ids),
    )

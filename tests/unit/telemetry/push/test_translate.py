"""A registry and what a receiver with OpenTelemetry's own messages reads of it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp
from opentelemetry.sdk.resources import Resource
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Enum,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    enable_created_metrics,
)

from service.telemetry.push.collected import collected
from service.telemetry.push.points import NS
from service.telemetry.push.translate import Temporality, Translation, Translator

START = 1_700_000_000 * NS
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class World:
    """A registry, its translator, and a receiver that takes what the test lets through."""

    def __init__(self, temporality: Temporality) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=True)
        self.sent = Counter("sent", "Messages sent.", ["account", "result"], registry=self.registry)
        self.wait = Histogram(
            "wait_seconds", "Time waited.", ["account"], buckets=(1.0, 5.0), registry=self.registry
        )
        self.oldest = Gauge("oldest_timestamp_seconds", "The oldest.", registry=self.registry)
        self.resource = Resource({"service.name": "beacon", "numbers": [1, 2], "on": True, "ratio": 0.5})
        self.translator = Translator(resource=self.resource, temporality=temporality, started_at_ns=START)
        self.at_ns = START

    def translate(self) -> Translation:
        self.at_ns += 60 * NS
        return self.translator.translate(collected(self.registry), at_ns=self.at_ns)

    def push(self, *, accepted: bool = True) -> dict[str, otlp.Metric]:
        """What arrives, by name."""
        translation = self.translate()
        if accepted:
            self.translator.accepted(translation)
        return read(translation)


def read(translation: Translation) -> dict[str, otlp.Metric]:
    request = ExportMetricsServiceRequest.FromString(translation.body)
    (resource,) = request.resource_metrics
    (scope,) = resource.scope_metrics
    assert scope.scope.name == "beacon"
    return {metric.name: metric for metric in scope.metrics}


def labels(point: otlp.NumberDataPoint | otlp.HistogramDataPoint | otlp.Exemplar) -> dict[str, str]:
    attributes = point.filtered_attributes if isinstance(point, otlp.Exemplar) else point.attributes
    return {attribute.key: attribute.value.string_value for attribute in attributes}


@pytest.fixture
def cumulative() -> World:
    return World(Temporality.CUMULATIVE)


@pytest.fixture
def delta() -> World:
    return World(Temporality.DELTA)


def test_a_counter_is_a_monotonic_sum_from_the_start_of_the_process_under_its_prometheus_name(
    cumulative: World,
) -> None:
    cumulative.sent.labels("default", "ok").inc(3)
    cumulative.push()
    metric = cumulative.push()["sent_total"]
    assert (metric.description, metric.unit) == ("Messages sent.", "")
    assert [(each.key, each.value.string_value) for each in metric.metadata] == [
        ("prometheus.type", "counter")
    ]
    assert metric.sum.is_monotonic
    assert metric.sum.aggregation_temporality == otlp.AGGREGATION_TEMPORALITY_CUMULATIVE
    (point,) = metric.sum.data_points
    assert labels(point) == {"account": "default", "result": "ok"}
    assert (point.as_double, point.start_time_unix_nano, point.time_unix_nano) == (
        3.0,
        START,
        cumulative.at_ns,
    )


def test_when_a_series_began_is_not_taken_for_a_count(cumulative: World) -> None:
    enable_created_metrics()  # type: ignore[no-untyped-call]
    began = Counter("began", "Counted.", registry=cumulative.registry)
    seconds = Histogram("took_seconds", "Taken.", registry=cumulative.registry)
    began.inc()
    seconds.observe(1)
    metrics = cumulative.push()
    disable_created_metrics()  # type: ignore[no-untyped-call]
    assert [point.as_double for point in metrics["began_total"].sum.data_points] == [1.0]
    assert [point.sum for point in metrics["took_seconds"].histogram.data_points] == [1.0]


def test_a_delta_counts_from_the_last_export_that_was_accepted(delta: World) -> None:
    delta.sent.labels("default", "ok").inc(3)
    delta.push()
    last = delta.at_ns
    delta.sent.labels("default", "ok").inc(2)
    delta.push(accepted=False)
    delta.sent.labels("default", "ok").inc(1)
    (point,) = delta.push()["sent_total"].sum.data_points
    assert (point.as_double, point.start_time_unix_nano) == (3.0, last)


def test_a_delta_leaves_out_what_did_not_change_except_for_its_first_zero(delta: World) -> None:
    delta.sent.labels("default", "failed")
    delta.wait.labels("default")
    first = delta.push()
    assert first["sent_total"].sum.data_points[0].as_double == 0.0
    assert first["wait_seconds"].histogram.data_points[0].count == 0
    second = delta.push()
    assert {"sent_total", "wait_seconds"}.isdisjoint(second)


def test_a_gauge_is_a_gauge(cumulative: World) -> None:
    cumulative.oldest.set(12.5)
    metric = cumulative.push()["oldest_timestamp_seconds"]
    assert metric.WhichOneof("data") == "gauge"
    assert metric.gauge.data_points[0].as_double == 12.5


def test_a_gauge_that_comes_to_have_no_value_says_so_once(cumulative: World) -> None:
    cumulative.oldest.set(math.nan)
    assert "oldest_timestamp_seconds" not in cumulative.push()
    cumulative.oldest.set(12.5)
    cumulative.push()
    cumulative.oldest.set(math.nan)
    for accepted in (False, True):  # until somebody has heard it
        (point,) = cumulative.push(accepted=accepted)["oldest_timestamp_seconds"].gauge.data_points
        assert point.flags == otlp.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
        assert point.WhichOneof("value") is None
    assert "oldest_timestamp_seconds" not in cumulative.push()


@pytest.mark.parametrize("temporality", Temporality)
def test_info_and_state_sets_are_cumulative_sums_that_may_fall(temporality: Temporality) -> None:
    world = World(temporality)
    Info("engine", "Versions.", registry=world.registry).info({"neonize": "1.0"})
    Enum("state", "Where it is.", states=["up", "down"], registry=world.registry).state("down")
    metrics = world.push()
    for name in ("engine_info", "state"):
        assert not metrics[name].sum.is_monotonic
        assert metrics[name].sum.aggregation_temporality == otlp.AGGREGATION_TEMPORALITY_CUMULATIVE
        assert metrics[name].sum.data_points[0].start_time_unix_nano == START
    assert labels(metrics["engine_info"].sum.data_points[0]) == {"neonize": "1.0"}
    assert {labels(point)["state"]: point.as_double for point in metrics["state"].sum.data_points} == {
        "up": 0.0,
        "down": 1.0,
    }


def test_a_histogram_has_its_bounds_and_counts_each_observation_in_one_bucket(cumulative: World) -> None:
    for seconds in (0.5, 1.0, 3.0, 100.0):
        cumulative.wait.labels("default").observe(seconds)
    (point,) = cumulative.push()["wait_seconds"].histogram.data_points
    assert labels(point) == {"account": "default"}
    assert (list(point.explicit_bounds), list(point.bucket_counts)) == ([1.0, 5.0], [2, 1, 1])
    assert (point.count, point.sum, point.start_time_unix_nano) == (4, 104.5, START)


def test_a_histograms_delta_counts_each_bucket_from_the_last_accepted_export(delta: World) -> None:
    delta.wait.labels("default").observe(0.5)
    delta.push()
    delta.wait.labels("default").observe(3.0)
    delta.push(accepted=False)
    delta.wait.labels("default").observe(7.0)
    (point,) = delta.push()["wait_seconds"].histogram.data_points
    assert (list(point.bucket_counts), point.count, point.sum) == ([0, 1, 1], 2, 10.0)


def test_an_exemplar_leads_to_its_span_and_is_told_once(cumulative: World) -> None:
    cumulative.at_ns = START
    cumulative.wait.labels("default").observe(3.0, {"trace_id": TRACE, "span_id": SPAN, "chat": "ab12"})
    (point,) = cumulative.push(accepted=False)["wait_seconds"].histogram.data_points
    (exemplar,) = point.exemplars
    assert (exemplar.trace_id.hex(), exemplar.span_id.hex(), exemplar.as_double) == (TRACE, SPAN, 3.0)
    assert labels(exemplar) == {"chat": "ab12"}
    assert exemplar.time_unix_nano > START
    cumulative.at_ns = exemplar.time_unix_nano
    assert cumulative.push()["wait_seconds"].histogram.data_points[0].exemplars
    assert not cumulative.push()["wait_seconds"].histogram.data_points[0].exemplars


def test_the_resource_is_the_one_that_spans_have(cumulative: World) -> None:
    request = ExportMetricsServiceRequest.FromString(cumulative.translate().body)
    attributes = {each.key: each.value for each in request.resource_metrics[0].resource.attributes}
    assert attributes["service.name"].string_value == "beacon"
    assert [each.int_value for each in attributes["numbers"].array_value.values] == [1, 2]
    assert attributes["on"].bool_value
    assert attributes["ratio"].double_value == 0.5


@given(steps=st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 10), st.booleans()), min_size=1, max_size=20))
def test_the_sum_of_all_accepted_deltas_is_the_counter(steps: list[tuple[float, float, bool]]) -> None:
    world = World(Temporality.DELTA)
    sent, wait = world.sent.labels("default", "ok"), world.wait.labels("default")
    counter, waited, buckets = 0.0, 0.0, [0, 0, 0]
    for amount, seconds, accepted in [*steps, (1.0, 1.0, True)]:
        sent.inc(amount)
        wait.observe(seconds)
        for metric in world.push(accepted=accepted).values() if accepted else ():
            counter += sum(point.as_double for point in metric.sum.data_points)
            for point in metric.histogram.data_points:
                waited += point.sum
                buckets = [all_ + new for all_, new in zip(buckets, point.bucket_counts, strict=True)]
    exact = {sample.name: sample.value for family in world.registry.collect() for sample in family.samples}
    assert counter == pytest.approx(exact["sent_total"], rel=1e-15, abs=0)
    assert waited == pytest.approx(exact["wait_seconds_sum"], rel=1e-15, abs=0)
    assert sum(buckets) == exact["wait_seconds_count"]

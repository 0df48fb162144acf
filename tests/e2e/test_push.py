"""A thousand messages through the real client, while the telemetry's receiver has every trouble there is."""

import json
import math
import signal
from collections import Counter as Tally
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp
from prometheus_client.parser import text_string_to_metric_families

from service.demo.check import pair
from service.demo.host import Host
from service.demo.people import BEACON, contact
from service.simulator.server import Simulator
from tests.e2e.process import beacon
from tests.e2e.test_no_network import NOWHERE
from tests.otlp import Behaviour, OtlpReceiver, attributes
from tests.people import ANN

EACH: Final = 200
KEY: Final = "NRAK-0f9a8b7c"
TROUBLES: Final[Mapping[str, Behaviour]] = {
    "none": Behaviour(),
    "slow": Behaviour(delay_s=3600, status=503),
    "too many requests": Behaviour(status=429, headers={"Retry-After": "1"}),
    "broken": Behaviour(status=500),
}
COUNTS: Final = ("_total", "_count", "_bucket")
TERMINAL: Final = "whatsapp_queue_terminal_total"
GAUGES: Final = (
    "whatsapp_connected",
    "whatsapp_connection_state",
    "whatsapp_engine_info",
    "whatsapp_queue_messages",
)
FIGURES: Final = (
    TERMINAL,
    "whatsapp_queue_attempts_total",
    "whatsapp_queue_delivery_seconds_bucket",
    "whatsapp_queue_sent_seconds_sum",
    "whatsapp_engine_commands_total",
)

Series = tuple[str, frozenset[tuple[str, str]]]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("temporality", ["cumulative", "delta"])
async def test_after_1000_messages_and_every_trouble_the_receivers_totals_are_those_of_metrics(
    tmp_path: Path, temporality: str
) -> None:
    async with Simulator(tmp_path) as simulator, OtlpReceiver() as receiver:
        environment = {
            **simulator.environment(),
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": temporality,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "5000",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "OTEL_BSP_SCHEDULE_DELAY": "500",
        }
        async with (
            contact("Ann", ANN, simulator=simulator, folder=tmp_path, heard=lambda: None) as ann,
            Host(tmp_path, environment, quiet=True) as host,
        ):
            await pair(host, simulator)
            ids: list[str] = []
            await receiver.down()
            ids += await _delivered(host, simulator, EACH)
            await receiver.up()
            for behaviour in TROUBLES.values():
                receiver.behaviour = behaviour
                ids += await _delivered(host, simulator, EACH)
            receiver.behaviour = TROUBLES["none"]
            settled = await host.until_settled(ids)
            assert (len(ids), len(set(ann.inbox))) == (1000, 1000)
            assert settled["delivered"] + settled["read"] == 1000

            before = await _scrape(host)
            start = len(receiver.metrics)
            await receiver.until(
                lambda it: len(it.metrics) >= start + 2
            )  # one was collected after the scrape
            pushed = Totals(temporality)
            for request in receiver.metrics:
                pushed.add(request)
            still = {
                series: value
                for series, value in (await _scrape(host)).items()
                if before.get(series) == value
            }
            _compare(still, pushed.values)
            spans = Tally(span.span_id for span in receiver.spans)
            assert max(spans.values()) == 1
            await _delivered(host, simulator, 1)  # spans of before may have been too many to be kept
            await host.stop()
        assert {"POST /api/v1/messages", "publish outbox", "process outbox", "send direct"} <= {
            span.name for span in receiver.spans
        }


async def test_a_receiver_that_does_not_answer_holds_up_no_stop_and_its_key_is_told_nobody(
    tmp_path: Path,
) -> None:
    async with OtlpReceiver() as receiver:
        receiver.behaviour = TROUBLES["slow"]
        environment = {
            **NOWHERE,
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"api-key={KEY}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "600000",
            "LOG_LEVEL": "debug",
        }
        async with beacon(tmp_path, env=environment) as running:
            _, accepted = await running.post("/api/v1/messages", {"to": ANN, "text": "kept"})
            await running.until("/api/v1/session", lambda it: it["state"] == "backing_off")
            _, health = await running.get("/healthz")
            assert await running.end(signal.SIGTERM) == 0
    lines = [json.loads(line) for line in running.stderr.read_text().splitlines()]
    cut = {line["signal"] for line in lines if line["event"] == "telemetry.flush_cut_short"}
    assert cut == {"traces", "metrics"}
    assert lines[-1]["event"] == "service.stopped"
    assert KEY not in json.dumps([lines, health, accepted])


async def _delivered(host: Host, simulator: Simulator, count: int) -> list[str]:
    """Hand in that many and wait until WhatsApp has them all."""
    before = simulator.accounts[BEACON].sent
    ids = await host.post([{"to": ANN, "text": f"message {before + number}"} for number in range(count)])
    await simulator.wait_for(lambda: simulator.accounts[BEACON].sent >= before + count, timeout_s=60)
    return ids


def _compare(scraped: Mapping[Series, float], pushed: Mapping[Series, float]) -> None:
    """All that counts, and did not while it was pushed; the gauges that no scrape moves."""
    for series, value in scraped.items():
        name = series[0]
        if name.endswith(COUNTS) or name in GAUGES:
            assert pushed[series] == value, series
        elif name.endswith("_sum"):  # of seconds: added up in another order
            assert pushed[series] == pytest.approx(value, rel=1e-12), series
    assert {*GAUGES, *FIGURES} <= {name for name, _ in scraped}
    arrived = {
        value
        for (name, labels), value in pushed.items()
        if name == TERMINAL and ("state", "delivered") in labels
    }
    assert arrived == {1000}


async def _scrape(host: Host) -> dict[Series, float]:
    async with aiohttp.ClientSession() as http, http.get(f"{host.url}/metrics") as response:
        text = await response.text()
    return {
        _series(sample.name, sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _series(name: str, labels: Mapping[str, str]) -> Series:
    return name, frozenset(labels.items())


class Totals:
    """What a receiver shows after all these requests, named as Prometheus names it."""

    def __init__(self, temporality: str) -> None:
        self._adds_up = temporality == "delta"
        self.values: dict[Series, float] = {}

    def add(self, request: ExportMetricsServiceRequest) -> None:
        for of_resource in request.resource_metrics:
            for scope in of_resource.scope_metrics:
                for metric in scope.metrics:
                    self._take(metric)

    def _take(self, metric: otlp.Metric) -> None:
        kind = metric.WhichOneof("data")
        if kind == "histogram":
            assert (
                metric.histogram.aggregation_temporality == otlp.AGGREGATION_TEMPORALITY_DELTA
            ) == self._adds_up
            for point in metric.histogram.data_points:
                for name, labels, value in _flat(metric.name, point):
                    self._set(_series(name, labels), value, adds_up=self._adds_up)
            return
        grows = kind == "sum" and metric.sum.is_monotonic
        if grows:
            assert (metric.sum.aggregation_temporality == otlp.AGGREGATION_TEMPORALITY_DELTA) == self._adds_up
        for number in metric.sum.data_points if kind == "sum" else metric.gauge.data_points:
            self._set(
                _series(metric.name, _labels(number)), number.as_double, adds_up=grows and self._adds_up
            )

    def _set(self, series: Series, value: float, *, adds_up: bool) -> None:
        self.values[series] = (self.values.get(series, 0.0) if adds_up else 0.0) + value


def _flat(name: str, point: otlp.HistogramDataPoint) -> Iterator[tuple[str, dict[str, str], float]]:
    labels, below = _labels(point), 0
    for bound, count in zip([*point.explicit_bounds, math.inf], point.bucket_counts, strict=True):
        below += count
        yield f"{name}_bucket", {**labels, "le": "+Inf" if math.isinf(bound) else str(bound)}, below
    yield f"{name}_count", labels, point.count
    yield f"{name}_sum", labels, point.sum


def _labels(point: otlp.NumberDataPoint | otlp.HistogramDataPoint) -> dict[str, str]:
    return {key: str(value) for key, value in attributes(point.attributes).items()}

"""What scrapers get is what prometheus_client would write."""

from collections.abc import Callable

import pytest
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Enum,
    Gauge,
    Histogram,
    Info,
    Summary,
    generate_latest,
)
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from service.telemetry.exposition import Exposition
from service.telemetry.registry import build_registry

TRACE = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"}


@pytest.fixture
def registry() -> CollectorRegistry:
    """Of every type of metric, with values and words that are hard to write."""
    build_registry("default")  # turns series of creation times off, as the service does
    registry = CollectorRegistry()
    counter = Counter("calls", 'Calls with "quotes",\na new line and a \\.', ["name", "a"], registry=registry)
    counter.labels('x\\\n"y"', "é").inc(5, exemplar=TRACE)
    counter.labels("", "2").inc(12345678)
    gauge = Gauge("level", "A level.", ["of"], registry=registry)
    for value in (
        0,
        1,
        999,
        1000,
        1e6,
        1234567,
        1e21,
        0.1,
        1e-9,
        -3,
        float("nan"),
        float("inf"),
        -float("inf"),
    ):
        gauge.labels(repr(value)).set(value)
    Gauge("bare", "Without labels.", registry=registry).set(7)
    Gauge("size", "With a unit.", unit="bytes", registry=registry)
    seconds = Histogram("took_seconds", "Time.", ["kind"], buckets=(0.1, 1, 300), registry=registry)
    seconds.labels("a").observe(0.05, exemplar=TRACE)
    seconds.labels("a").observe(1e7)
    seconds.labels("b")
    Summary("sizes", "Sizes.", registry=registry).observe(3)
    Info("engine", "Versions.", registry=registry).info({"b": "2", "a": "1"})
    Enum("state", "State.", ["account"], states=["up", "down"], registry=registry).labels("one").state("down")
    return registry


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(Exposition.text, generate_latest), (Exposition.openmetrics, openmetrics)],
    ids=["text", "openmetrics"],
)
def test_it_is_the_library_s_own_text_byte_for_byte_scrape_after_scrape(
    registry: CollectorRegistry,
    ours: Callable[[Exposition], bytes],
    theirs: Callable[[CollectorRegistry], bytes],
) -> None:
    exposition = Exposition(registry)
    assert ours(exposition) == theirs(registry)
    late = Counter("late", "Came later.", ["name"], registry=registry)
    late.labels("b").inc()
    assert ours(exposition) == theirs(registry)
    late.labels("a").inc(1.5)
    assert ours(exposition) == theirs(registry)
    late.labels("a").inc(0, exemplar=TRACE)
    assert ours(exposition) == theirs(registry), "the exemplar alone is new"
    late.clear()
    late.labels("a").inc(7)
    assert ours(exposition) == theirs(registry), "another series of that name"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(Exposition.text, generate_latest), (Exposition.openmetrics, openmetrics)],
    ids=["text", "openmetrics"],
)
def test_what_changed_since_the_last_scrape_is_written_anew(
    registry: CollectorRegistry,
    ours: Callable[[Exposition], bytes],
    theirs: Callable[[CollectorRegistry], bytes],
) -> None:
    exposition = Exposition(registry)
    took = Histogram("age", "Ages.", buckets=(-1, 0, 1), registry=registry)
    asked = Gauge("asked", "Of a function.", registry=registry)
    for at in range(3):
        asked.set_function(lambda at=at: at)  # type: ignore[misc]
        assert ours(exposition) == theirs(registry)
        took.observe(0, {"trace_id": f"{at}"})
        assert ours(exposition) == theirs(registry), "the sum is as it was"
        took.observe(at)
        assert ours(exposition) == theirs(registry)
    took.observe(float("nan"))
    took.observe(float("inf"))
    assert ours(exposition) == theirs(registry)

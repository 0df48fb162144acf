"""The engine's metrics: all there from the start, at zero, with help and closed label sets."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.engine.exits import ExitCause
from service.engine.metrics import EngineMetrics
from service.engine.protocol import Connected, EventsDropped, Heartbeat, Hello, Undecryptable, Unread
from service.engine.turns import Use


def beat(**changed: Any) -> Heartbeat:
    fields: dict[str, Any] = {
        "events_queued": 3, "sends_at_hand": 2, "resident_bytes": 80_000_000,
        "threads": 16, "open_fds": 20, "unraisable": 0,
    }  # fmt: skip
    return Heartbeat(connected=True, logged_in=True, **(fields | changed))


def samples(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(f"{k}={v}" for k, v in sorted(sample.labels.items()) if k != "account")): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }


def test_everything_is_there_from_the_start_and_zero() -> None:
    registry = CollectorRegistry()
    EngineMetrics(registry, "test")

    seen = samples(registry)
    assert len({name for name, *_ in seen}) >= 25
    assert {value for (name, *_), value in seen.items() if name != "whatsapp_engine_info"} == {0}
    assert all(metric.documentation.endswith(".") for metric in registry.collect())
    assert all(name.startswith("whatsapp_engine_") for name, *_ in seen)


def test_heartbeats_count_from_the_engines_start_and_metrics_go_on_over_engines() -> None:
    registry = CollectorRegistry()
    metrics = EngineMetrics(registry, "test")
    first, second = beat(turns={Use.SEND: 3}, turn_overruns=1), beat(turns={Use.SEND: 5}, turn_overruns=1)
    metrics.beat(first, before=None)
    metrics.beat(second, before=first)
    metrics.beat(beat(turns={Use.SEND: 2}), before=None)  # of the next engine

    seen = samples(registry)
    assert seen["whatsapp_engine_turns_total", "use=send"] == 7
    assert seen["whatsapp_engine_turn_overruns_total",] == 1


@pytest.mark.parametrize("reason", Unread)
def test_what_could_not_be_read_is_told_by_its_reason(reason: Unread) -> None:
    registry = CollectorRegistry()
    EngineMetrics(registry, "test").event(Undecryptable(id="3EB0", reason=reason), at=1.0)
    counted = {
        key: value for key, value in samples(registry).items() if "undecryptable_total" in key[0] and value
    }
    assert counted == {("whatsapp_engine_undecryptable_total", f"reason={reason.value}"): 1}


def test_a_life() -> None:
    registry = CollectorRegistry()
    metrics = EngineMetrics(registry, "test")
    metrics.hello(Hello(protocol=1, pid=1, neonize="0.5.2", whatsmeow="v0"))
    metrics.event(Connected(jid="a"), at=100.0)
    metrics.event(beat(), at=105.0)
    metrics.beat(beat(), before=None)
    metrics.beat(beat(unraisable=2), before=beat())
    metrics.event(EventsDropped(count=4), at=106.0)

    seen = samples(registry)
    assert seen["whatsapp_engine_up",] == 1
    assert seen["whatsapp_engine_resident_memory_bytes",] == 80_000_000
    assert seen["whatsapp_engine_heartbeat_timestamp_seconds",] == 105
    assert seen["whatsapp_engine_last_event_timestamp_seconds",] == 106
    assert seen["whatsapp_engine_events_total", "kind=connected"] == 1
    assert seen["whatsapp_engine_events_dropped_total",] == 4
    assert seen["whatsapp_engine_unraisable_errors_total",] == 2
    assert seen["whatsapp_engine_info", "neonize=0.5.2", "whatsmeow=v0"] == 1

    metrics.ended(ExitCause.CRASHED)
    seen = samples(registry)
    assert seen["whatsapp_engine_up",] == 0
    assert seen["whatsapp_engine_resident_memory_bytes",] == 0
    assert seen["whatsapp_engine_exits_total", "cause=crashed"] == 1

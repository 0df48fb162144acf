"""How late the event loop is, and how near memory is to its limit."""

import asyncio

from prometheus_client import CollectorRegistry

from service.telemetry.runtime import LAG_EVERY_S, RuntimeMetrics, Watch
from tests.clock import FakeClock

ACCOUNT = {"account": "a"}


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    found = registry.get_sample_value(name, {**ACCOUNT, **labels})
    assert found is not None, name
    return found


async def test_a_loop_that_was_held_up_is_seen_by_how_late_its_call_comes() -> None:
    registry, clock = CollectorRegistry(), FakeClock()
    watch = Watch(RuntimeMetrics(registry, "a", limit_bytes=None), clock=clock, engine_bytes=lambda: 0)
    running = asyncio.create_task(watch.run())
    for late_s in (0.0, 0.2):
        while not clock.sleeps:
            await asyncio.sleep(0)
        clock.advance(LAG_EVERY_S + late_s)
    while not clock.sleeps:
        await asyncio.sleep(0)
    running.cancel()

    assert value(registry, "whatsapp_event_loop_lag_seconds_count") == 2
    assert value(registry, "whatsapp_event_loop_lag_seconds_bucket", le="0.1") == 1, "the one in time"
    assert value(registry, "whatsapp_event_loop_lag_seconds_bucket", le="0.25") == 2


async def test_memory_is_that_of_service_and_engine_against_what_they_may_take() -> None:
    registry, engine = CollectorRegistry(), [70]
    metrics = RuntimeMetrics(registry, "a", limit_bytes=512)
    clock = FakeClock()
    watch = Watch(metrics, clock=clock, engine_bytes=lambda: engine[0], own_bytes=lambda: 30)
    assert value(registry, "whatsapp_memory_used_bytes") == 100, "known before it first looks"
    assert value(registry, "whatsapp_memory_limit_bytes") == 512
    engine[0] = 80
    running = asyncio.create_task(watch.run())
    while not clock.sleeps:
        await asyncio.sleep(0)
    clock.advance(LAG_EVERY_S)
    while not clock.sleeps:
        await asyncio.sleep(0)
    running.cancel()
    assert value(registry, "whatsapp_memory_used_bytes") == 110


def test_without_a_limit_it_is_zero_and_our_own_memory_is_measured() -> None:
    registry = CollectorRegistry()
    Watch(RuntimeMetrics(registry, "a", limit_bytes=None), clock=FakeClock(), engine_bytes=lambda: 0)
    assert value(registry, "whatsapp_memory_limit_bytes") == 0
    assert value(registry, "whatsapp_memory_used_bytes") > 10_000_000

"""What the tests' Prometheus is relied on for: that it scrapes, evaluates rules and keeps exemplars."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.aiohttp import make_aiohttp_handler

from tests.prometheus import Prometheus, PrometheusRefused, Target

TRACE = {"trace_id": "0af7651916cd43dd8448eb211c80319c"}
RULE = """
groups:
  - name: tests
    rules:
      - {alert: Slow, expr: slow_seconds_count > 0, for: 0s}
"""


@pytest.fixture
async def slow() -> AsyncIterator[Target]:
    """A program that was slow once, and says so to who knows the token."""
    registry = CollectorRegistry()
    Histogram("slow_seconds", "Time.", registry=registry).observe(3, exemplar=TRACE)

    @web.middleware
    async def ask(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.headers.get("Authorization") != "Bearer open":
            raise web.HTTPUnauthorized
        return await handler(request)

    application = web.Application(middlewares=[ask])
    application.router.add_get("/metrics", make_aiohttp_handler(registry))
    async with TestServer(application) as server:
        yield Target(f"127.0.0.1:{server.port}", {"instance": "one"}, token="open")


async def test_it_scrapes_keeps_exemplars_and_takes_rules_while_it_runs(slow: Target, tmp_path: Path) -> None:
    async with Prometheus({"test": [slow]}, scrape_interval_s=0.2, evaluation_interval_s=0.2) as prometheus:
        await prometheus.until('up{job="test"}')
        assert await prometheus.value('slow_seconds_sum{instance="one"}') == 3
        assert await prometheus.query("time() > bool 0")
        assert await prometheus.label_values("instance", "slow_seconds_sum") == ["one"]
        (exemplar,) = await prometheus.exemplars("slow_seconds_bucket")
        assert (exemplar.labels, exemplar.value) == (TRACE, 3)
        assert exemplar.series["le"] == "5.0"
        assert await prometheus.alerts() == []

        rules = tmp_path / "rules.yml"
        rules.write_text(RULE)
        prometheus.rules.append(rules)
        await prometheus.reload()
        await prometheus.until('ALERTS{alertname="Slow",alertstate="firing"}')
        assert [alert["labels"]["alertname"] for alert in await prometheus.alerts()] == ["Slow"]
        ((labels, values),) = await prometheus.query_range("slow_seconds_count", last_s=1)
        assert labels["job"] == "test"
        assert set(values) == {1.0}

        rules.write_text("groups: 1")
        with pytest.raises(PrometheusRefused, match="cannot unmarshal"):
            await prometheus.reload()
        with pytest.raises(PrometheusRefused, match="parse error"):
            await prometheus.query("slow_seconds{")

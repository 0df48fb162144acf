"""Fetching KEEP_ALIVE_URL from a server on loopback; only time is the test's own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from service.keepalive import JITTER, PERIOD_S, Fetched, KeepAlive, KeepAliveMetrics
from tests.clock import FakeClock
from tests.unit.reconnect.fakes import LongestWait

SECRET = "0f9a8b7c"


class Site:
    """What is fetched: it counts, and answers as a test says."""

    def __init__(self) -> None:
        self.fetches = 0
        self.answer: Callable[[], web.Response | None] = lambda: web.Response(text="alive")
        self._forever = asyncio.Event()
        application = web.Application()
        application.router.add_get("/{path:.*}", self._get)
        self.server = TestServer(application)

    async def _get(self, _: web.Request) -> web.Response:
        self.fetches += 1
        answer = self.answer()
        if answer is None:
            await self._forever.wait()
        assert answer is not None
        return answer

    def url(self) -> str:
        return str(self.server.make_url(f"/ping/{SECRET}"))


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    async with site.server:
        yield site


class Running:
    """A `KeepAlive` at work."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self.clock = FakeClock()
        self._registry = CollectorRegistry()
        self.keeper = KeepAlive(
            url,
            clock=self.clock,
            rng=LongestWait(),
            metrics=KeepAliveMetrics(self._registry, "default"),
            timeout_s=timeout_s,
        )
        self.task = asyncio.create_task(self.keeper.run())

    def counts(self) -> dict[str, float]:
        """The results that there have been."""
        every = {
            result.value: self._registry.get_sample_value(
                "whatsapp_keep_alive_requests_total", {"account": "default", "result": result.value}
            )
            for result in Fetched
        }
        return {name: count for name, count in every.items() if count}

    async def waits(self) -> float:
        """How long it will sleep, once the fetch under way has ended."""
        async with asyncio.timeout(60):
            while not self.clock.sleeps:
                assert not self.task.done(), self.task
                await asyncio.sleep(0)
        return self.clock.sleeps[0]

    async def fetches_again(self) -> None:
        self.clock.advance(await self.waits())
        await self.waits()


@asynccontextmanager
async def running(url: str, *, timeout_s: float = 20.0) -> AsyncIterator[Running]:
    it = Running(url, timeout_s)
    try:
        yield it
    finally:
        it.task.cancel()
        await asyncio.wait({it.task})


async def test_it_fetches_at_once_and_then_every_ten_minutes(site: Site) -> None:
    async with running(site.url()) as it:
        assert await it.waits() == PERIOD_S == 600
        assert site.fetches == 1

        it.clock.advance(PERIOD_S - 1)
        await it.waits()
        assert site.fetches == 1

        await it.fetches_again()
        assert site.fetches == 2
        assert it.counts() == {"ok": 2}


def test_a_wait_is_never_longer_than_the_period() -> None:
    assert 0 < JITTER < 0.5


async def test_every_result_is_counted_from_the_start() -> None:
    registry = CollectorRegistry()
    KeepAliveMetrics(registry, "default")
    for result in Fetched:
        labels = {"account": "default", "result": result.value}
        assert registry.get_sample_value("whatsapp_keep_alive_requests_total", labels) == 0


async def test_an_error_is_counted_told_once_and_survived(site: Site) -> None:
    with capture_logs() as logs:
        async with running(site.url()) as it:
            await it.waits()
            site.answer = lambda: web.Response(status=503)
            await it.fetches_again()
            await it.fetches_again()
            site.answer = lambda: web.Response(text="alive")
            await it.fetches_again()
            assert it.counts() == {"ok": 2, "refused": 2}

    assert [(line["log_level"], line["result"], line["answer"]) for line in logs] == [
        ("info", "ok", "200"),
        ("warning", "refused", "503"),
        ("info", "ok", "200"),
    ]
    assert SECRET not in str(logs)


async def test_a_redirect_is_an_answer_and_is_not_followed(site: Site) -> None:
    site.answer = lambda: web.Response(status=302, headers={"Location": site.url()})
    async with running(site.url()) as it:
        await it.waits()
        assert (site.fetches, it.counts()) == (1, {"ok": 1})


async def test_a_body_of_any_size_is_left_unread(site: Site) -> None:
    site.answer = lambda: web.Response(body=b"x" * 50_000_000)
    async with running(site.url()) as it:
        await it.waits()
        assert it.counts() == {"ok": 1}


async def test_a_site_that_never_answers_is_given_up(site: Site) -> None:
    site.answer = lambda: None
    async with running(site.url(), timeout_s=0.05) as it:
        await it.fetches_again()
        assert it.counts() == {"timeout": 2}


@pytest.mark.parametrize(
    "url",
    [f"http://127.0.0.1:{unused_port()}/{SECRET}", "http://[::1%]/", "http://" + "a" * 80 + ".invalid/"],
    ids=["nobody listens", "no address", "no name"],
)
async def test_a_site_that_cannot_be_reached_does_not_end_it(url: str) -> None:
    with capture_logs() as logs:
        async with running(url) as it:
            await it.waits()
            assert it.counts() == {"unreachable": 1}
    assert SECRET not in str(logs)

"""Fetches KEEP_ALIVE_URL now and then, so that a platform that puts idle programs to sleep sees traffic."""

from collections.abc import Callable
from enum import StrEnum
from random import Random
from typing import Final

import aiohttp
import structlog
from prometheus_client import CollectorRegistry, Counter

from service.clock import Clock

log = structlog.get_logger(__name__)

PERIOD_S: Final = 600.0
JITTER: Final = 0.1
"""How much shorter than the period a wait may be, as a share of it."""

TIMEOUT_S: Final = 30.0


class Fetched(StrEnum):
    """How a fetch ended."""

    OK = "ok"  # answered, a redirect included; where it leads is not asked
    REFUSED = "refused"  # answered with an error
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"


class KeepAliveMetrics:
    """What became of the fetches."""

    def __init__(self, registry: CollectorRegistry, account: str) -> None:
        counter = Counter(
            "whatsapp_keep_alive_requests",
            "Fetches of KEEP_ALIVE_URL, by how they ended.",
            ["account", "result"],
            registry=registry,
        )
        self.requests = {result: counter.labels(account, result.value) for result in Fetched}


class KeepAlive:
    """One request about every `PERIOD_S`, never later. The URL may hold a secret and is never shown."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        rng: Random,
        metrics: KeepAliveMetrics,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._url = url
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._last: Fetched | None = None

    async def run(self) -> None:
        """Fetch until cancelled. Failures are counted, and told when they begin and end."""
        while True:
            self._tell(*await self._fetch())
            await self._clock.sleep(PERIOD_S * self._rng.uniform(1.0 - JITTER, 1.0))

    async def _fetch(self) -> tuple[Fetched, str]:
        """How it ended, and a word on that. The body is not read: it may be of any size."""
        try:
            async with (
                aiohttp.ClientSession(timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()) as http,
                http.get(self._url, allow_redirects=False) as answer,
            ):
                answer.close()
                return (Fetched.OK if answer.status < 400 else Fetched.REFUSED), str(answer.status)
        except TimeoutError as error:
            return Fetched.TIMEOUT, type(error).__name__
        except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: a host that cannot be one
            return Fetched.UNREACHABLE, type(error).__name__

    def _tell(self, fetched: Fetched, word: str) -> None:
        self._metrics.requests[fetched].inc()
        if fetched is not self._last:
            tell: Callable[..., None] = log.info if fetched is Fetched.OK else log.warning
            tell("keep_alive.changed", result=fetched.value, answer=word)
        self._last = fetched

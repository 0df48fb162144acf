"""Store operations that must not be lost because the store is away for a while."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Final, TypeVar

import structlog

from service.clock import Clock
from service.errors import ClaimLost, StoreUnavailable
from service.queue.metrics import QueueMetrics

log = structlog.get_logger(__name__)

T = TypeVar("T")

FIRST_WAIT_S: Final = 0.1
LAST_WAIT_S: Final = 10.0


def backoff_s(attempt: int, rng: Random) -> float:
    """Seconds to wait after the given failed attempt (1 is the first): full jitter under a cap."""
    return rng.uniform(FIRST_WAIT_S / 2, min(LAST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt, 10)))


class Persistence:
    """Repeats an operation until the store has done it."""

    def __init__(self, *, clock: Clock, rng: Random, metrics: QueueMetrics) -> None:
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self.ending = False
        """Set when the service stops: then an operation is tried once. What it leaves undone is an
        orphan of the next start, or a receipt that WhatsApp will not repeat."""

    async def done(self, what: str, operation: Callable[[], Awaitable[T]]) -> T | None:
        """The operation's answer; None when its claim was lost, or the service stops before it could be
        done."""
        attempt = 0
        while True:
            try:
                return await operation()
            except ClaimLost as error:
                self._metrics.claim_lost()
                log.warning("queue.claim_lost", operation=what, error=str(error))
                return None
            except StoreUnavailable as error:
                attempt += 1
                log.error("queue.store_failed", operation=what, attempt=attempt, error=str(error))  # noqa: TRY400
                if self.ending:
                    return None
            await self._clock.sleep(backoff_s(attempt, self._rng))

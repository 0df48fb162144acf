"""How the process itself fares: how late its event loop is, and how near its memory is to the limit."""

from collections.abc import Callable
from typing import Final, NoReturn

import psutil
from prometheus_client import CollectorRegistry, Gauge, Histogram

from service.clock import Clock

LAG_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

LAG_EVERY_S: Final = 0.5
"""How often the loop is asked for a call. What holds it up for longer than this is surely seen; of shorter
hold-ups a share, which is enough to see those that repeat."""


class RuntimeMetrics:
    """Event loop and memory. `limit_bytes` is what the platform grants service and engine together."""

    def __init__(self, registry: CollectorRegistry, account: str, *, limit_bytes: int | None) -> None:
        self.lag = Histogram(
            "whatsapp_event_loop_lag_seconds",
            "How much later than asked for the event loop made a call that it was asked for twice a second.",
            ["account"],
            buckets=LAG_BUCKETS,
            registry=registry,
        ).labels(account)
        self.used = Gauge(
            "whatsapp_memory_used_bytes",
            "Resident memory of the service and of its engine together.",
            ["account"],
            registry=registry,
        ).labels(account)
        limit = Gauge(
            "whatsapp_memory_limit_bytes",
            "Memory that the service and its engine may take together (MEMORY_MB, or the container's limit); "
            "0 without a limit.",
            ["account"],
            registry=registry,
        )
        limit.labels(account).set(limit_bytes or 0)


class Watch:
    """Observes event loop and memory, until cancelled. `engine_bytes` is the engine's resident memory."""

    def __init__(
        self,
        metrics: RuntimeMetrics,
        *,
        clock: Clock,
        engine_bytes: Callable[[], int],
        own_bytes: Callable[[], int] | None = None,
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._engine_bytes = engine_bytes
        self._own_bytes = own_bytes or _resident(psutil.Process())
        self._look()

    async def run(self) -> NoReturn:
        """Ask the loop for a call, again and again, and see when it comes."""
        while True:
            due = self._clock.monotonic() + LAG_EVERY_S
            await self._clock.sleep(LAG_EVERY_S)
            self._metrics.lag.observe(max(0.0, self._clock.monotonic() - due))
            self._look()

    def _look(self) -> None:
        self._metrics.used.set(self._own_bytes() + self._engine_bytes())


def _resident(process: psutil.Process) -> Callable[[], int]:
    return lambda: int(process.memory_info().rss)

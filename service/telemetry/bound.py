"""How many messages are recorded a second, at most, so that being watched never costs a busy service much.

A token bucket over accepted messages. It begins full and gives out many at once: what is handed in together
is recorded as far as it goes.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter

from service.bucket import TokenBucket
from service.clock import Clock

BURST_S: Final = 10.0
"""After a quiet while as many are recorded at once as otherwise in this time."""


class BoundMetrics:
    """What is left out."""

    def __init__(self, registry: CollectorRegistry, account: str) -> None:
        self.left_out = Counter(
            "whatsapp_telemetry_unrecorded_messages",
            "Messages accepted whose way is not recorded, because more came than TRACE_MESSAGES_PER_SECOND.",
            ["account"],
            registry=registry,
        ).labels(account)


class Bound:
    """Grants so many messages a second, `BURST_S` seconds' worth after a quiet while; with 0 any number."""

    def __init__(self, per_second: float, *, clock: Clock) -> None:
        burst = max(1.0, per_second * BURST_S)
        self._bucket = TokenBucket(rate_per_s=per_second, burst=burst, tokens=burst, at=clock.monotonic())
        self._bounded = per_second > 0
        self._clock = clock

    def take(self, messages: int) -> int:
        """How many of that many may be recorded."""
        if not self._bounded:
            return messages
        at = self._clock.monotonic()
        granted = min(messages, self._bucket.ready(at))
        self._bucket.take(at, granted)
        return granted

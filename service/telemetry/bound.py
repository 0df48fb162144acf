"""How many messages are recorded a second, at most, so that being watched never costs a busy service much.

A token bucket over accepted messages. Unlike the pacer's it begins full, and gives out many at once: what is
handed in together is recorded as far as it goes.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter

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
        self._per_second = per_second
        self._most = max(1.0, per_second * BURST_S)
        self._left = self._most
        self._clock = clock
        self._at = clock.monotonic()

    def take(self, messages: int) -> int:
        """How many of that many may be recorded."""
        if not self._per_second:
            return messages
        now = self._clock.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        granted = min(messages, int(self._left))
        self._left -= granted
        return granted

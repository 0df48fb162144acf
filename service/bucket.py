"""A token bucket: so many messages at once, and so many a second over any longer while.

Times are monotonic seconds.
"""

from typing import Final

ALMOST: Final = 1e-9
"""What rounding may take from a token that is due."""


class TokenBucket:
    """At most `burst + rate_per_s * t` tokens are taken within any t seconds."""

    def __init__(self, *, rate_per_s: float, burst: float, tokens: float, at: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = tokens
        self._at = at

    def level(self, at: float) -> float:
        """Tokens in it."""
        return min(self._burst, self._tokens + (at - self._at) * self._rate_per_s)

    def ready(self, at: float) -> int:
        """How many may be taken now."""
        return int(self.level(at) + ALMOST)

    def ready_in_s(self, at: float) -> float:
        """Seconds until one may be taken; 0: now."""
        missing = 1.0 - self.level(at)
        return 0.0 if missing <= ALMOST else missing / self._rate_per_s

    def take(self, at: float, tokens: int = 1) -> None:
        """Take so many; only when they are ready."""
        assert tokens <= self.ready(at)
        self._tokens, self._at = self.level(at) - tokens, at

    def put_back(self, at: float) -> None:
        """One that was taken was not used."""
        self._tokens, self._at = min(self._burst, self.level(at) + 1.0), at

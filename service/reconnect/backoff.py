"""When to try again: full jitter under a cap, forgotten only after a stable while.

Follows AWS Architecture Blog, "Exponential Backoff and Jitter" (full jitter), and gRPC's connection
backoff for the rule that success counts once it has lasted.
"""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waiting times between login attempts, in seconds."""

    base: float = 2.0
    cap: float = 300.0
    stable_after: float = 60.0

    def ceiling(self, attempt: int) -> float:
        """The longest wait before the given attempt (1 is the first retry)."""
        doublings = min(attempt - 1, 64)  # a float cannot hold 2.0 ** 1024
        return min(self.cap, self.base * 2.0**doublings)

    def wait(self, attempt: int, rng: Random) -> float:
        """Seconds to wait before the given attempt (1 is the first retry)."""
        return rng.uniform(0.0, self.ceiling(attempt))

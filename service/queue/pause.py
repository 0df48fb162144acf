"""A moment in which nothing is claimed, longer each time, after trouble that all messages share."""

from random import Random

from service.clock import Clock
from service.queue.persistence import backoff_s


class Pause:
    """Begins with each trouble anew; a message that goes out, or a new connection, forgets the count."""

    def __init__(self, *, clock: Clock, rng: Random) -> None:
        self._clock = clock
        self._rng = rng
        self._troubles = 0
        self._until = 0.0

    def begin(self) -> None:
        """There was trouble."""
        self._troubles += 1
        self._until = self._clock.monotonic() + backoff_s(self._troubles, self._rng)

    def all_is_well(self) -> None:
        """A message went out: the next pause is a short one again."""
        self._troubles = 0

    def end(self) -> None:
        """Go on at once."""
        self._troubles = 0
        self._until = 0.0

    @property
    def remaining_s(self) -> float:
        """Seconds until it is over, 0 when it is."""
        return max(0.0, self._until - self._clock.monotonic())

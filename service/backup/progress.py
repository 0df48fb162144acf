"""What is being done that takes its time, and how far it is.

Whoever begins something opens a block around it; who does a part of it says so with `at`, and need not know
for whom: the block that is open where it runs hears it, as with spans.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import StrEnum

from service.clock import Clock


class Step(StrEnum):
    """What is done just now."""

    COPYING = "copying the session"
    CHECKING = "checking it"
    SEALING = "sealing what is new"
    STORING = "storing it"
    FETCHING = "fetching it"
    OPENING = "unsealing it"
    PLACING = "putting it in place"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`began_at` in Unix seconds; `total_bytes` is 0 where nobody can say how much is left of the step."""

    what: str
    began_at: float
    step: Step | None = None
    done_bytes: int = 0
    total_bytes: int = 0

    @property
    def words(self) -> str:
        """The step, for people; empty before the first."""
        if self.step is None or not self.total_bytes:
            return self.step or ""
        return f"{self.step}, {self.done_bytes / 1e6:.1f} of {self.total_bytes / 1e6:.1f} MB"


class Doings:
    """What is being done now; of several, what was begun last is shown."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[object, Progress] = {}
        self._heard: set[Callable[[], None]] = set()

    @property
    def now(self) -> Progress | None:
        """How far it is; None: nothing is being done."""
        return next(iter(reversed(self.all)), None)

    @property
    def all(self) -> Sequence[Progress]:
        """Everything, in the order in which it was begun."""
        return tuple(self._open.values())

    def subscribe(self, heard: Callable[[], None]) -> Callable[[], None]:
        """Call it at every change; the answer ends that."""
        self._heard.add(heard)
        return lambda: self._heard.discard(heard)

    @contextmanager
    def begin(self, what: str) -> Iterator[None]:
        """As long as the block runs, that is being done."""
        key = object()

        def tell(step: Step, done_bytes: int, total_bytes: int) -> None:
            self._set(
                key, replace(self._open[key], step=step, done_bytes=done_bytes, total_bytes=total_bytes)
            )

        self._set(key, Progress(what=what, began_at=self._clock.now()))
        token = _TELL.set(tell)
        try:
            yield
        finally:
            _TELL.reset(token)
            del self._open[key]
            self._changed()

    def _set(self, key: object, progress: Progress) -> None:
        self._open[key] = progress
        self._changed()

    def _changed(self) -> None:
        for heard in tuple(self._heard):
            heard()


def at(step: Step, *, done_bytes: int = 0, total_bytes: int = 0) -> None:
    """What is being done here has come so far. On the event loop alone."""
    if (tell := _TELL.get()) is not None:
        tell(step, done_bytes, total_bytes)


_TELL: ContextVar[Callable[[Step, int, int], None] | None] = ContextVar("tell", default=None)

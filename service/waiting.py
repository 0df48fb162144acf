"""Tells the person at a terminal that something is still being done."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import click

FIRST_S: Final = 1.0


class Waiting:
    """A context manager around work that may take long: after the first second, and from then on ever less
    often, one line on stderr says what is being done, for how long, and what `far` says of how far it is.
    What takes less shows nothing. `far` is called in a thread."""

    def __init__(
        self,
        what: str,
        *,
        far: Callable[[], str] = lambda: "",
        first_s: float = FIRST_S,
        say: Callable[[str], object] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._far = far
        self._pause_s = first_s
        self._say = say or _to_stderr
        self._monotonic = monotonic
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="waiting", daemon=True)

    def __enter__(self) -> Self:
        self._began = self._monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _tell(self) -> None:
        while not self._over.wait(self._pause_s):
            line = f"beacon: {self._what}, {self._monotonic() - self._began:.0f} s so far"
            far = self._far()
            self._say(f"{line}: {far}" if far else line)
            self._pause_s *= 2


def _to_stderr(line: str) -> None:
    click.echo(line, err=True)

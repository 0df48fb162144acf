"""Ports for programs that must be told theirs before they run.

A port that the system picks may be given to somebody else before the program has it: it is picked from the
same range for whoever connects or listens meanwhile. These lie below that range, each worker of the tests has
its own, and each is given once until all have been.
"""

import os
from collections.abc import Iterator
from itertools import cycle
from typing import Final

from service.demo.host import is_free

FIRST: Final = 20_000
EACH: Final = 500
WORKERS: Final = 22
"""So many have ports of their own; the lowest that Linux picks by itself is 32768."""


def _mine() -> range:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    return range(FIRST + EACH * worker, FIRST + EACH * (worker + 1))


def _from_somewhere(ports: range) -> Iterator[int]:
    """Not from the first: another run of the tests may be under way on this machine."""
    begin = os.getpid() % len(ports)
    return cycle((*ports[begin:], *ports[:begin]))


_PORTS: Final = _from_somewhere(_mine())


def free_port() -> int:
    """A port of 127.0.0.1 where nobody listens."""
    return next(port for port in _PORTS if is_free(port))

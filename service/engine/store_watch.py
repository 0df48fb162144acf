"""Ends the engine when the database that has the session is away and whatsmeow would go on without it.

Without its store whatsmeow cannot read what comes in, asks for it anew at once, cannot read that either,
and after the fifth time gives up for ever: within a second, as measured (retry.go). It says so on the
thread that is about to ask. An engine that ends there has neither confirmed the message nor asked: WhatsApp
hands it over again at the next login.
"""

import ctypes
import re
from collections.abc import Callable
from typing import Final

_AWAY: Final = re.compile(
    r"Error decrypting message .*(?:dial (?:tcp|unix)|bad connection|connection re(?:fused|set)|broken pipe"
    r"|i/o timeout|\bEOF\b|pq: .*\((?:08|53|57|25006)\w*\))"
)
"""Errors of the network, and PostgreSQL's classes for connection, resources, operator and read-only. None is
about the message: one that was would end every engine that it is handed to."""


def tells_of_a_store_that_is_away(line: str) -> bool:
    """Whether whatsmeow could not read a message because its database did not answer."""
    return _AWAY.search(line) is not None


def watched(log: Callable[[int, int], None], away: Callable[[], None]) -> Callable[[int, int], None]:
    """neonize's log callback, which Go calls with address and size of a LogEntry, and waits for; before it
    `away` is called when the entry tells of that."""

    def watching(address: int, size: int) -> None:
        if address and size > 0:
            entry = ctypes.string_at(address, size).decode(errors="replace")
            if tells_of_a_store_that_is_away(entry):
                away()
        log(address, size)

    return watching

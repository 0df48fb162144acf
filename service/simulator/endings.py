"""Every way in which WhatsApp ends a connection by saying so, as data.

`<failure reason=>` is an answer to a login, `<stream:error>` comes on an open link; whatsmeow handles both
at any time (connectionevents.go). Rows are those of the decision table in the project's notes on failure
modes, which the supervisor's policy follows too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from service.errors import SimulatorError
from service.simulator.stanza import Node


@dataclass(frozen=True, slots=True)
class Ending:
    """What the server says before it hangs up. `unlinks`: it forgets the device as well."""

    name: str
    row: str
    node: Node
    unlinks: bool = False


def failure(name: str, row: str, reason: int, *, unlinks: bool = False, **attrs: str) -> Ending:
    """An ending by `<failure reason=...>`; more attributes as keywords."""
    return Ending(name, row, Node("failure", {"reason": str(reason), **attrs}), unlinks)


def temporary_ban(*, code: int, expire_s: int) -> Ending:
    """Failure 402. whatsmeow knows the codes 101 to 104 and 106; neonize fails on any other (row 14b)."""
    known = code in (101, 102, 103, 104, 106)
    row = "14" if known else "14b"
    return failure(f"temporary_ban_{code}", row, 402, code=str(code), expire=str(expire_s))


def stream_error(name: str, row: str, code: str, *, conflict: str = "", unlinks: bool = False) -> Ending:
    """An ending by `<stream:error code=...>`, with `<conflict type=...>` where one is given."""
    content = (Node("conflict", {"type": conflict}),) if conflict else None
    return Ending(name, row, Node("stream:error", {"code": code} if code else {}, content), unlinks)


REPLACED: Final = stream_error("replaced", "8", "", conflict="replaced")
RESTART: Final = stream_error("restart", "5", "515")
LOGGED_OUT: Final = failure("logged_out", "11", 401, unlinks=True)
MALFORMED: Final = Ending("malformed", "9", Node("stream:error", {}, (Node("xml-not-well-formed"),)))

ENDINGS: Final[Mapping[str, Ending]] = MappingProxyType(
    {
        ending.name: ending
        for ending in (
            RESTART,
            stream_error("restarting_soon", "6", "503"),
            stream_error("device_removed", "7", "401", conflict="device_removed", unlinks=True),
            REPLACED,
            stream_error("other", "9", "599"),
            MALFORMED,
            failure("generic", "10", 400),
            LOGGED_OUT,
            failure("main_device_gone", "12", 403, unlinks=True),
            failure("banned", "13", 406, unlinks=True),
            *(temporary_ban(code=code, expire_s=3600) for code in (101, 102, 103, 104, 105, 106)),
            failure("outdated", "15", 405),
            failure("bad_user_agent", "16", 409),
            failure("cat_invalid", "17", 413),
            failure("cat_expired", "17", 414),
            failure("client_unknown", "18", 415),
            failure("unmapped", "18", 418),
            failure("internal_error", "19", 500),
            failure("unavailable", "19", 503),
            failure("experimental", "20", 501),
        )
    }
)


def ending(which: Ending | str) -> Ending:
    """An ending, by its name in `ENDINGS` or as it is. Raises SimulatorError for an unknown name."""
    if isinstance(which, Ending):
        return which
    try:
        return ENDINGS[which]
    except KeyError:
        raise SimulatorError(f"no ending {which!r}: known are {', '.join(ENDINGS)}") from None

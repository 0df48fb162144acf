"""How an engine process ended, and which cause a return code tells of."""

import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_OWN_FAULT: Final = frozenset(
    {
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGSEGV,
        signal.SIGSYS,
        signal.SIGTRAP,
    }
)


class ExitCause(StrEnum):
    """Why an engine ended."""

    STOPPED = "stopped"  # it was told to, or ended by itself with exit code 0
    CRASHED = "crashed"
    KILLED = "killed"  # by a signal that was not ours
    HEARTBEAT_LOST = "heartbeat_lost"
    COMMAND_OVERDUE = "command_overdue"
    BAD_FRAME = "bad_frame"
    START_FAILED = "start_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitReport:
    """How one engine ended. `returncode` is negative for a signal, None when nothing was started."""

    cause: ExitCause
    returncode: int | None
    detail: str


def cause_of(returncode: int) -> ExitCause:
    """The cause when nobody asked the process to end."""
    if returncode == 0:
        return ExitCause.STOPPED
    if returncode < 0 and -returncode not in _OWN_FAULT:
        return ExitCause.KILLED
    return ExitCause.CRASHED


def words_of(returncode: int) -> str:
    """The return code as people say it: `exit code 2`, `SIGKILL`."""
    if returncode < 0:
        return signal.Signals(-returncode).name
    return f"exit code {returncode}"

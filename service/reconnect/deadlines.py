"""Waits that a restart of the process must not shorten: bans and cool-downs, on disk."""

import asyncio
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from service.reconnect.policy import RULES
from service.reconnect.reason import Reason

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Deadline:
    """No login before `until` (Unix seconds), because of that rule."""

    reason: Reason
    until: float


class Deadlines(Protocol):
    """Where the one deadline that there may be is kept."""

    def load(self) -> Deadline | None:
        """What was kept; may block."""

    def keep(self, deadline: Deadline | None) -> None:
        """Have it written in place of the one before; None forgets that."""

    async def run(self) -> None:
        """Write what is to be kept, until `close`."""

    def close(self) -> None:
        """Let `run` end once everything is written."""


class DeadlineFile:
    """Keeps it as JSON (0600), written beside, synced and renamed.

    A file that cannot be read or written is said in the log; the connection goes on without it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wanted: Deadline | None = None
        self._written: Deadline | None = None
        self._changed = asyncio.Event()
        self._closing = False

    def load(self) -> Deadline | None:
        """The kept one; None without one, and for one that this version does not understand."""
        try:
            self._wanted = self._written = _understood(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("connection.deadline_unreadable", error=type(error).__name__, file=self._path.name)
        return self._wanted

    def keep(self, deadline: Deadline | None) -> None:
        """Written soon; a later call before that replaces it."""
        self._wanted = deadline
        self._changed.set()

    async def run(self) -> None:
        """Write every change, off the loop."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            wanted = self._wanted
            if wanted != self._written:
                try:
                    await asyncio.to_thread(self._write, wanted)
                    self._written = wanted
                except OSError as error:
                    log.warning("connection.deadline_unwritable", error=error.strerror, file=self._path.name)
            if self._closing and not self._changed.is_set():
                return

    def close(self) -> None:
        """No more will come."""
        self._closing = True
        self._changed.set()

    def _write(self, deadline: Deadline | None) -> None:
        if deadline is None:
            self._path.unlink(missing_ok=True)
        else:
            fresh = self._path.with_name(self._path.name + ".new")
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump({"reason": deadline.reason.value, "until": deadline.until}, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _understood(content: bytes) -> Deadline:
    match json.loads(content):
        case {"reason": str(reason), "until": int(until) | float(until)} if math.isfinite(until):
            if RULES[Reason(reason)].survives:
                return Deadline(Reason(reason), float(until))
    raise ValueError("no deadline")

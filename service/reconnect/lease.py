"""Who may connect: one holder for each account, with a number that grows with every holder.

Two processes with one session damage it (both move its ratchets on), so a process connects only while
it holds the lease. `LocalLease` is for an account without a database; `lease_postgres` has the other.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import structlog

from service.clock import Clock, SystemClock
from service.reconnect.lease_metrics import Hindrance, LeaseMetrics

log = structlog.get_logger(__name__)

Hindered = Callable[[Hindrance], None]
"""Told what stands in the way of the lease, and again whenever that becomes something else."""

WRITE_AGAIN_S: Final = 5.0


class Lease(Protocol):
    """The right to connect the account. One owner calls `acquire`, then `lost`, then either again."""

    @property
    def fence(self) -> int | None:
        """Greater than that of every holder before; None while the lease is not held."""

    async def acquire(self, hindered: Hindered | None = None) -> int:
        """Wait, for ever if need be, until the lease is held; its fence. May be cancelled.

        Whoever lost a lease must have ended what it did under it before asking again.
        """

    async def lost(self) -> None:
        """Return when the held lease can no longer be trusted: early enough to end an engine before
        anybody else can hold it. Returns at once when it is not held."""

    async def release(self) -> None:
        """Give it up at once; no error when it is not held. What was done under it must have ended."""


class LocalLease:
    """The lease of a process without a database: never contended, because DATA_DIR's lock already is.

    The fence is a number in a file that is written, synced and renamed before it counts.
    """

    def __init__(
        self, path: Path, *, clock: Clock | None = None, metrics: LeaseMetrics | None = None
    ) -> None:
        self._path = path
        self._clock = clock or SystemClock()
        self._metrics = metrics
        self.fence: int | None = None

    async def acquire(self, hindered: Hindered | None = None) -> int:
        """The next fence; waits only while it cannot be written (`Hindrance.DATA_DIR`)."""
        asked = self._clock.monotonic()
        try:
            while (fence := await self._raised()) is None:
                if self._metrics is not None:
                    self._metrics.hindered(Hindrance.DATA_DIR)
                if hindered is not None:
                    hindered(Hindrance.DATA_DIR)
                await self._clock.sleep(WRITE_AGAIN_S)
        finally:
            if self._metrics is not None:
                self._metrics.hindered(None)
        self.fence = fence
        log.info("lease.acquired", fence=fence)
        if self._metrics is not None:
            self._metrics.acquired(fence, wait_s=self._clock.monotonic() - asked)
        return fence

    async def lost(self) -> None:
        """Never while it is held: the kernel keeps DATA_DIR's lock for as long as the process lives."""
        if self.fence is not None:
            await asyncio.Event().wait()

    async def release(self) -> None:
        """No longer held."""
        if self.fence is not None:
            self.fence = None
            if self._metrics is not None:
                self._metrics.released()

    async def _raised(self) -> int | None:
        try:
            return await asyncio.to_thread(self._next)
        except (OSError, ValueError) as error:
            log.warning("lease.fence_unwritable", error=type(error).__name__, file=self._path.name)
            return None

    def _next(self) -> int:
        try:
            fence = int(self._path.read_bytes()) + 1
        except FileNotFoundError:
            fence = 1
        fresh = self._path.with_name(self._path.name + ".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(b"%d\n" % fence)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return fence

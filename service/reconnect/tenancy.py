"""The lease, asked for again and again: held, lost, and asked for once nothing runs under it any more."""

import asyncio
from collections.abc import Callable

from service.reconnect.lease import Lease
from service.reconnect.lease_metrics import Hindrance


class Tenancy:
    """Says when an engine may run.

    All three are called on the loop and must not block. `lost` is called at once, ahead of everything
    that waits for its turn: the engine has to end before anybody else can hold the lease.
    """

    def __init__(
        self,
        lease: Lease,
        *,
        hindered: Callable[[Hindrance], None],
        held: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self._lease = lease
        self._tell_hindered = hindered
        self._tell_held = held
        self._tell_lost = lost
        self._vacant = asyncio.Event()
        self._vacant.set()
        self.held = False

    @property
    def fence(self) -> int | None:
        """The number of the held lease."""
        return self._lease.fence

    def occupied(self) -> None:
        """An engine runs; a lost lease is not asked for before it has ended."""
        self._vacant.clear()

    def vacated(self) -> None:
        """No engine runs."""
        self._vacant.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._lease.acquire(self._tell_hindered)
            self.held = True
            self._tell_held()
            await self._lease.lost()
            self.held = False
            self._tell_lost()
            await self._vacant.wait()

    async def end(self) -> None:
        """Give the lease up; the engine has ended."""
        self.held = False
        await self._lease.release()

"""The lease, and with it the custody of the session: held only once the session may connect."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

import structlog

from service.backup.custody import Hurdle, Tell

log = structlog.get_logger(__name__)

H = TypeVar("H")
H_co = TypeVar("H_co", covariant=True)


class Leased(Protocol[H_co]):
    """What is needed of `service.reconnect.lease.Lease`; H_co is what it says when it must wait."""

    @property
    def fence(self) -> int | None: ...

    async def acquire(self, hindered: Callable[[H_co], None] | None = None) -> int: ...

    async def lost(self) -> None: ...

    async def release(self) -> None: ...


class Keeping(Protocol):
    """What is needed of `service.backup.custody.Custody`."""

    async def admit(self, fence: int, tell: Tell) -> None: ...

    async def leave(self) -> None: ...

    def lapse(self) -> None: ...


class GuardedLease(Generic[H]):
    """A lease in the place of another. `hindrances` says how the other calls what the custody waits for,
    `show` is told what is waited for now, None for nothing."""

    def __init__(
        self,
        inner: Leased[H],
        custody: Keeping,
        *,
        hindrances: Mapping[Hurdle, H],
        show: Callable[[H | None], None],
    ) -> None:
        self._inner = inner
        self._custody = custody
        self._hindrances = hindrances
        self._show = show
        self._admitted = False

    @property
    def fence(self) -> int | None:
        """As the inner lease's."""
        return self._inner.fence

    async def acquire(self, hindered: Callable[[H], None] | None = None) -> int:
        """The inner lease's fence, once the session may connect under it. May be cancelled."""
        while True:
            fence = await self._inner.acquire(hindered)
            if await self._admit(fence, hindered):
                self._admitted = True
                return fence
            log.warning("lease.lost_before_use", fence=fence)

    async def lost(self) -> None:
        """Returns when the inner lease is lost; from then on no backups are made."""
        await self._inner.lost()
        self._admitted = False
        self._custody.lapse()

    async def release(self) -> None:
        """Keep the session once more, then give the lease up.

        Whoever cancels is in a hurry: then nothing more is kept.
        """
        task = asyncio.current_task()
        hurried = task is not None and task.cancelling() > 0
        try:
            if self._admitted and self._inner.fence is not None and not hurried:
                await self._custody.leave()
        finally:
            self._admitted = False
            self._custody.lapse()
            await self._inner.release()

    async def _admit(self, fence: int, hindered: Callable[[H], None] | None) -> bool:
        def tell(hurdle: Hurdle) -> None:
            hindrance = self._hindrances[hurdle]
            self._show(hindrance)
            if hindered is not None:
                hindered(hindrance)

        admitting = asyncio.create_task(self._custody.admit(fence, tell), name="custody")
        losing = asyncio.create_task(self._inner.lost(), name="lease watched by custody")
        try:
            await asyncio.wait({admitting, losing}, return_when=asyncio.FIRST_COMPLETED)
            if losing.done():
                return False
            admitting.result()
            return True
        finally:
            self._show(None)
            await _end(admitting, losing)


async def _end(*tasks: "asyncio.Task[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

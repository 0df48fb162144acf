"""The lease as a row in PostgreSQL, for accounts that another process could connect too.

The row lives `TTL_S` from its last renewal, by the database's clock. The holder trusts it for less, by
its own monotonic clock and from the moment the renewal was *sent*, so that its trust has ended, and its
engine too, before the row can expire, however late the answer came. client-go's leader election
(tools/leaderelection) has the same two clocks and says what is missing without a fencing number; here
every holder gets one.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import structlog

from service.clock import Clock
from service.reconnect.lease import Hindered
from service.reconnect.lease_metrics import Hindrance, LeaseMetrics, LostReason, RenewalResult
from service.reconnect.lease_row import DatabaseTrouble, Held, LeaseRow

log = structlog.get_logger(__name__)

TTL_S: Final = 15.0
RENEW_EVERY_S: Final = 5.0

MARGIN_S: Final = 6.0
"""An engine that does not obey is killed after 5 s; one more for a busy machine."""

TRUST_S: Final = TTL_S - MARGIN_S

RENEWAL_DEADLINE_S: Final = 2.0
"""A connection that went dead is replaced while the trust still lasts."""

LOOK_EVERY_S: Final = 1.0
"""A timer does not run while the machine is suspended: soon after, the clock is looked at."""

RENEW_AGAIN_S: Final = 0.5
ASK_EVERY_S: Final = 1.0
ASK_DEADLINE_S: Final = 5.0
RELEASE_DEADLINE_S: Final = 2.0

T = TypeVar("T")


class PostgresLease:
    """The lease of one process on one account, until `release`. Reconnects by itself; never names the URL."""

    def __init__(self, url: str, *, account: str, clock: Clock, metrics: LeaseMetrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._changed = asyncio.Event()
        holder = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self._row = LeaseRow(url, account=account, holder=holder, changed=self._changed.set)
        self._gone = asyncio.Event()
        self._gone.set()
        self._keeping: asyncio.Task[None] | None = None
        self._sent_at = 0.0
        self._tried_at = 0.0
        self._asked = False
        self.fence: int | None = None

    async def acquire(self, hindered: Hindered | None = None) -> int:
        """Ask every second, and at once when the holder gives up or its time is over."""
        waiting = _Waiting(self._metrics, hindered)
        asked = self._clock.monotonic()
        self._asked = True
        await self._stop_keeping()
        watched = _Watched()
        try:
            while True:
                self._changed.clear()
                sent = self._clock.monotonic()
                pause_s = ASK_EVERY_S
                try:
                    found = await self._within(
                        ASK_DEADLINE_S, self._row.take(ttl_s=TTL_S, abandoned=watched.abandoned(sent))
                    )
                except DatabaseTrouble as trouble:
                    waiting.because(trouble.hindrance, error=trouble.error)
                else:
                    now = self._clock.monotonic()
                    if isinstance(found, Held):
                        watched.saw(found, now)
                        waiting.because(Hindrance.HELD_ELSEWHERE, holder=found.holder)
                        pause_s = min(ASK_EVERY_S, max(0.0, found.remaining_s))
                    elif now < sent + TRUST_S:
                        break
                await self._pause(pause_s)
        finally:
            self._metrics.hindered(None)
        wait_s = self._clock.monotonic() - asked
        self._sent_at = self._tried_at = sent
        self.fence = found
        self._gone.clear()
        self._metrics.acquired(found, wait_s=wait_s)
        log.info("lease.acquired", fence=found, wait_s=round(wait_s, 3))
        self._keeping = asyncio.create_task(self._keep(found), name="lease")
        return found

    async def lost(self) -> None:
        """When the row was taken, or `TRUST_S` after the last renewal that was answered had been sent."""
        await self._gone.wait()

    async def release(self) -> None:
        """Free the row; when the database does not answer within 2 s it is left to expire."""
        await self._stop_keeping()
        if self.fence is not None:
            self.fence = None
            self._metrics.released()
        if self._asked:
            self._asked = False
            try:
                await self._within(RELEASE_DEADLINE_S, self._row.give_up())
                log.info("lease.released")
            except DatabaseTrouble as trouble:
                log.warning("lease.left_to_expire", error=trouble.error)
        self._row.close()

    # --- while it is held ---------------------------------------------------------------------------

    async def _keep(self, fence: int) -> None:
        renewing = asyncio.create_task(self._renew(fence), name="lease renewals")
        trusting = asyncio.create_task(self._trust(), name="lease trust")
        try:
            await asyncio.wait({renewing, trusting}, return_when=asyncio.FIRST_COMPLETED)
            reason = LostReason.TAKEN if renewing.done() else self._why()
            self.fence = None
            self._metrics.lost(reason)
            log.warning("lease.lost", fence=fence, reason=reason)
        finally:
            self._gone.set()
            await _end(renewing, trusting)
        if not renewing.cancelled():
            renewing.result()

    async def _trust(self) -> None:
        while (left_s := self._sent_at + TRUST_S - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(left_s, LOOK_EVERY_S))

    def _why(self) -> LostReason:
        in_time = self._sent_at < self._tried_at < self._sent_at + TRUST_S
        return LostReason.UNREACHABLE if in_time else LostReason.STALLED

    async def _renew(self, fence: int) -> None:
        """Until the row says that it is somebody else's."""
        failing = False
        due = self._sent_at + RENEW_EVERY_S
        while True:
            await self._pause(due - self._clock.monotonic())
            self._changed.clear()
            sent = self._tried_at = self._clock.monotonic()
            try:
                ours = await self._within(RENEWAL_DEADLINE_S, self._row.renew(fence, ttl_s=TTL_S))
            except DatabaseTrouble as trouble:
                self._metrics.renewed(RenewalResult.FAILED, seconds=self._clock.monotonic() - sent)
                if not failing:
                    log.warning("lease.renewal_failed", fence=fence, error=trouble.error)
                failing = True
                due = self._clock.monotonic() + RENEW_AGAIN_S
                continue
            result = RenewalResult.RENEWED if ours else RenewalResult.TAKEN
            self._metrics.renewed(result, seconds=self._clock.monotonic() - sent)
            if not ours:
                return
            self._sent_at = sent
            failing = False
            due = sent + RENEW_EVERY_S

    async def _stop_keeping(self) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            await _end(keeping)
            if not keeping.cancelled():
                keeping.result()

    # --- time ---------------------------------------------------------------------------------------

    async def _pause(self, seconds: float) -> None:
        """That long, or until another process took the row or gave it up."""
        sleeping = asyncio.create_task(self._clock.sleep(max(0.0, seconds)))
        hearing = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait({sleeping, hearing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(sleeping, hearing)

    async def _within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """Its result; raises DatabaseTrouble when it takes longer."""
        working, waiting = asyncio.create_task(work), asyncio.create_task(self._clock.sleep(seconds))
        try:
            await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise DatabaseTrouble(Hindrance.UNREACHABLE, f"no answer within {seconds:g} s")
            return working.result()
        finally:
            await _end(working, waiting)


class _Watched:
    """Knows when a holder has not renewed for a whole TTL by our own clock: gone, whatever the time in
    the row says (a database clock that was set back would keep a dead holder alive)."""

    def __init__(self) -> None:
        self._held: Held | None = None
        self._since = 0.0

    def saw(self, held: Held, now: float) -> None:
        if not held.same(self._held):
            self._since = now
        self._held = held

    def abandoned(self, now: float) -> Held | None:
        return self._held if self._held is not None and now >= self._since + TTL_S else None


class _Waiting:
    """Tells once of every change of what stands in the way."""

    def __init__(self, metrics: LeaseMetrics, hindered: Hindered | None) -> None:
        self._metrics = metrics
        self._hindered = hindered
        self._told: tuple[Hindrance, dict[str, str]] | None = None

    def because(self, hindrance: Hindrance, **fields: str) -> None:
        if self._told == (hindrance, fields):
            return
        new = self._told is None or self._told[0] is not hindrance
        self._told = (hindrance, fields)
        log.info("lease.hindered", hindrance=hindrance, **fields)
        self._metrics.hindered(hindrance)
        if new and self._hindered is not None:
            self._hindered(hindrance)


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

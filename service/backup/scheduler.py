"""Backups by themselves: it looks at the session every few seconds, and does what is due."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from service.backup.backups import Backups
from service.backup.custody import Custody
from service.backup.home import Home
from service.backup.model import Cause
from service.backup.report import Outcome, Report
from service.backup.schedule import Schedule
from service.clock import Clock
from service.engine.protocol import AnyEvent, Connected, Paired
from service.errors import BackupError, DataDirUnusable, FenceTooOld, StoreError

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 5.0
VERIFY_EVERY_S: Final = 6 * 3600.0
VERIFY_AGAIN_S: Final = 900.0
"""After a check that could not be made, or that failed."""

WORTH_REPEATING: Final = frozenset({Outcome.UNREACHABLE, Outcome.FULL, Outcome.FAILED, Outcome.FENCED})
"""What may go better at the next try; an unfit session is looked at again when it changes."""


class Scheduler:
    """Runs from start to stop; whatever fails is counted and tried again."""

    def __init__(
        self, *, backups: Backups, custody: Custody, home: Home, interval_s: float, clock: Clock
    ) -> None:
        self._backups = backups
        self._custody = custody
        self._home = home
        self._clock = clock
        self._schedule = Schedule(interval_s=interval_s, began_at=clock.monotonic())
        self._paired = asyncio.Event()
        self._pairing = False
        self._logged_out = False
        self._told = False
        self._verify_at = clock.monotonic() + VERIFY_EVERY_S

    def hear(self, event: AnyEvent) -> None:
        """A phone that is linked is backed up at its first login, seconds later: that makes the prekeys,
        without which no session is fit to be kept."""
        if isinstance(event, Paired):
            self._pairing, self._logged_out = True, False
            self._paired.set()
        elif isinstance(event, Connected) and self._pairing:
            self._pairing = False
            self._paired.set()
        self._backups.hear(event)

    def logged_out(self) -> None:
        """The device is unlinked: what is kept of it is of no use any more."""
        self._logged_out = True

    async def back_up(self, cause: Cause = Cause.ASKED) -> Report:
        """Make a backup now; the next by itself counts from it."""
        report = await self._backups.back_up(cause)
        if report.outcome is not Outcome.NOT_OWNER:
            self._schedule.ended(
                success=report.outcome.success,
                worth_repeating=report.outcome in WORTH_REPEATING,
                took_s=report.took_s,
                now=self._clock.monotonic(),
            )
        return report

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._pause()
            await self._turn()

    async def _turn(self) -> None:
        if self._paired.is_set():
            self._paired.clear()
            self._schedule.paired()
            await self._adopt()
        self._schedule.sees(await self._home.signature(), now=self._clock.monotonic())
        if self._backups.unprotected:
            await self._try(self._custody.enter_late, "backup.still_unprotected")
        if self._backups.tenure is None:
            return
        if not await self._told_if_ended():
            return
        if not self._pairing and (cause := self._schedule.due(now=self._clock.monotonic())) is not None:
            report = await self.back_up(cause)
            if report.outcome is Outcome.FENCED:
                await self._try(self._custody.enter_again, "backup.not_entered_again")
        if self._clock.monotonic() >= self._verify_at:
            await self._verify()

    async def _told_if_ended(self) -> bool:
        """False while the vault has not heard of a session that was ended here: no other is kept before."""
        ended = self._logged_out or await self._home.cleared()
        self._told = self._told and ended
        if self._told or not ended:
            return True
        try:
            buried = await self._custody.bury()
        except FenceTooOld as error:
            log.warning("backup.not_buried", error=str(error))
            return True  # the next backup finds out, too, and mends it
        except (BackupError, StoreError, DataDirUnusable, OSError) as error:
            log.warning("backup.not_buried", error=str(error))
            return False
        self._told = buried or not self._logged_out
        self._logged_out = self._logged_out and not buried
        return True

    async def _verify(self) -> None:
        pause_s = VERIFY_EVERY_S
        try:
            await self._backups.verify()
        except BackupError as error:
            log.warning("backup.verification_failed", error=str(error))
            pause_s = VERIFY_AGAIN_S
        self._verify_at = self._clock.monotonic() + pause_s

    async def _adopt(self) -> None:
        try:
            await self._home.adopt()
        except (OSError, DataDirUnusable, StoreError) as error:
            log.warning("backup.pairing_not_noted", error=str(error))

    async def _pause(self) -> None:
        """Until the next look, or a phone is linked."""
        sleeping = asyncio.create_task(self._clock.sleep(LOOK_EVERY_S))
        hearing = asyncio.create_task(self._paired.wait())
        try:
            await asyncio.wait({sleeping, hearing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleeping, hearing):
                task.cancel()
            await asyncio.gather(sleeping, hearing, return_exceptions=True)

    async def _try(self, entering: Callable[[], Awaitable[None]], event: str) -> None:
        try:
            await entering()
        except (BackupError, StoreError, DataDirUnusable, OSError) as error:
            log.warning(event, error=str(error))

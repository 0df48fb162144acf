"""Custody of a session that is in the database and has no backups: a look before each use."""

from typing import Final

import structlog

from service.backup.custody import Hurdle, Tell, hurdle_of
from service.backup.home import Home
from service.clock import Clock
from service.errors import StoreError

log = structlog.get_logger(__name__)

ASK_AGAIN_S: Final = 2.0


class PostgresCustody:
    """Stands where `service.backup.custody.Custody` stands when backups are made."""

    def __init__(self, home: Home, *, clock: Clock) -> None:
        self._home = home
        self._clock = clock

    async def admit(self, fence: int, tell: Tell) -> None:
        """Return when the session may connect; `tell` hears what keeps it from that, at each change."""
        told: Hurdle | None = None
        while True:
            try:
                await taken_over(self._home, fence)
            except StoreError as error:
                hurdle = hurdle_of(error)
                if hurdle is not told:
                    log.warning("session.hindered", hurdle=hurdle, error=str(error))
                    tell(hurdle)
                    told = hurdle
            else:
                return
            await self._clock.sleep(ASK_AGAIN_S)

    async def leave(self) -> None:
        """The database has it all."""

    def lapse(self) -> None:
        """Nothing is made that would have to end."""


async def taken_over(home: Home, fence: int) -> bool:
    """Open the session under the lease of that number, so that those who make backups later see that nobody
    else had it meanwhile. As Home.open."""
    undone = await home.open(fence)
    lineage = await home.lineage()
    if lineage is not None and lineage.fence == fence - 1:
        await home.note(epoch=lineage.epoch, fence=fence, adopted=lineage.adopted)
    return undone

"""Custody of a session that is in the database itself: nothing to bring back, but a look before each use."""

from typing import Final, Protocol

import structlog

from service.backup.custody import Hurdle, Tell
from service.clock import Clock
from service.errors import StoreError, StoreUnavailable

log = structlog.get_logger(__name__)

ASK_AGAIN_S: Final = 2.0


class SessionInDatabase(Protocol):
    """What is needed of `service.engine.session_postgres.PostgresSession`."""

    async def open(self) -> int: ...


class PostgresCustody:
    """Stands where `service.backup.custody.Custody` stands for a session that is a file."""

    def __init__(self, session: SessionInDatabase, *, clock: Clock) -> None:
        self._session = session
        self._clock = clock

    async def admit(self, fence: int, tell: Tell) -> None:
        """Return when the session may connect; `tell` hears what keeps it from that, at each change."""
        told: Hurdle | None = None
        while True:
            try:
                dropped = await self._session.open()
            except StoreError as error:
                hurdle = _hurdle(error)
                if hurdle is not told:
                    log.warning("session.hindered", hurdle=hurdle, error=str(error))
                    tell(hurdle)
                    told = hurdle
            else:
                log.info("session.opened", store="postgres", fence=fence, sessions_dropped=dropped)
                return
            await self._clock.sleep(ASK_AGAIN_S)

    async def leave(self) -> None:
        """The database has it all."""

    def lapse(self) -> None:
        """Nothing is made that would have to end."""


def _hurdle(error: StoreError) -> Hurdle:
    return Hurdle.VAULT_UNREACHABLE if isinstance(error, StoreUnavailable) else Hurdle.BACKUP_UNREADABLE

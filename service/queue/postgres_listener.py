"""Hears of what other processes did to this account's queue, and tells them of what this one did.

NOTIFY is sent by a connection of its own and after the commit: inside of the transaction it would make all
commits of the whole server wait for each other. So it may get lost, like anything that comes over LISTEN;
looking every few seconds finds the same, later.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg
import structlog

from service.clock import Clock
from service.errors import StoreUnavailable
from service.postgres import TROUBLE, described

log = structlog.get_logger(__name__)

CHANNEL: Final = "beacon_queue"
POLL_S: Final = 5.0
AGAIN_S: Final = 1.0
"""Pause before another attempt to connect."""


class Listener:
    """One LISTEN connection. `look` is called when something may have changed and every `POLL_S`."""

    def __init__(
        self,
        *,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        account: str,
        origin: str,
        look: Callable[[], Awaitable[None]],
        clock: Clock,
        deadline_s: float,
    ) -> None:
        self._connect = connect
        self._account = account
        self._origin = origin
        self._look = look
        self._clock = clock
        self._deadline_s = deadline_s
        self._wake = asyncio.Event()
        self._tell = False
        self.listening = False
        """News come at once; otherwise within `POLL_S`."""

    def announce(self) -> None:
        """Tell other processes soon; many commits may share one notification."""
        self._tell = True
        self._wake.set()

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._listen()
            except (*TROUBLE, TimeoutError) as error:
                log.warning("queue.listen_failed", error=described(error))
            except StoreUnavailable as error:
                log.warning("queue.look_failed", error=str(error))
            self.listening = False
            await self._clock.sleep(AGAIN_S)

    async def _listen(self) -> None:
        async with asyncio.timeout(self._deadline_s):
            connection = await self._connect()
        try:
            async with asyncio.timeout(self._deadline_s):
                await connection.add_listener(CHANNEL, self._heard)
            connection.add_termination_listener(lambda _: self._wake.set())
            self.listening = True
            while True:
                await self._look()
                await self._news(connection)
        finally:
            connection.terminate()

    async def _news(self, connection: asyncpg.Connection) -> None:
        """Return when there is reason to look. What is told to others meanwhile is told here."""
        polling = asyncio.create_task(self._clock.sleep(POLL_S))
        try:
            while True:
                waking = asyncio.create_task(self._wake.wait())
                try:
                    await asyncio.wait({polling, waking}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waking.cancel()
                self._wake.clear()
                tell, self._tell = self._tell, False
                async with asyncio.timeout(self._deadline_s):  # and so a dead connection is noticed
                    if tell:
                        payload = f"{self._account} {self._origin}"
                        await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)
                    else:
                        await connection.execute("SELECT 1")
                if not tell or polling.done():
                    return
        finally:
            polling.cancel()

    def _heard(self, _: object, __: int, ___: str, payload: object) -> None:
        account, _space, origin = str(payload).rpartition(" ")
        if account == self._account and origin != self._origin:
            self._wake.set()

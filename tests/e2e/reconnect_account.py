"""One account per row of the decision table: real engines, the simulator, and a clock that a test moves."""

import asyncio
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from service.engine.protocol import AnyEvent, OfflineSynced
from service.reconnect.reason import Reason
from service.reconnect.status import Advice, State, Status
from service.simulator.server import Simulator
from tests.component.reconnect.conftest import PATIENCE_S, Account

DAY_S = 86_400.0


def copy_session(source: Path, target: Path) -> None:
    """A session file as it is; nobody may write to the source meanwhile."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


class Row(Account):
    """What a test of a row does and looks at."""

    def __init__(self, simulator: Simulator, folder: Path) -> None:
        super().__init__(simulator, folder)
        self._read = 0
        self._synced = False
        self.supervisor.listen(self._hears)
        self._running: asyncio.Task[None] | None = None

    def _hears(self, event: AnyEvent) -> None:
        self._synced |= isinstance(event, OfflineSynced)

    async def starts(self) -> None:
        """The service starts with the session that is in its folder."""
        self._running = asyncio.create_task(self.supervisor.run())
        await asyncio.sleep(0)

    async def connects(self) -> None:
        """It logs in, WhatsApp has nothing more to say by itself, and the connection becomes stable."""
        await self.starts()
        await self.told(Reason.CONNECTED, State.CONNECTED)
        await self.until(lambda _: self._synced)
        await self.settles()

    async def settles(self) -> None:
        """The connection becomes stable: earlier attempts are forgotten."""
        await self.passes(60)
        await self.until(lambda status: status.attempt == 0)

    async def links(self) -> None:
        """The phone scans the code; afterwards the session is in its folder and nothing runs."""
        await self.starts()
        await self.pair()
        await self.told(Reason.CONNECTED, State.CONNECTED)
        await self.ends()

    async def ends(self) -> None:
        """The service ends."""
        if self._running is not None:
            await self.supervisor.stop()
            await self._running
            self._running = None

    async def told(
        self, reason: Reason, state: State, advice: Advice = Advice.NOTHING, *, within_s: float = PATIENCE_S
    ) -> Status:
        """The first status with that reason after the last one asked for; its state and advice are these."""
        try:
            async with asyncio.timeout(within_s):
                while (found := self._find(reason)) is None:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            said = [status.reason for status in self.seen[self._read :]]
            raise AssertionError(f"nobody is told {reason}, but {said or self.status}") from None
        assert (found.state, found.advice) == (state, advice)
        return found

    def _find(self, reason: Reason) -> Status | None:
        for at, status in enumerate(self.seen[self._read :], start=self._read + 1):
            if status.reason == reason:
                self._read = at
                return status
        return None

    async def logs_in_again(self, after_s: float) -> None:
        """The next action is a login by a new engine, after that long."""
        engines = len(self.engines)
        due = self.status.next_attempt_at
        assert due is not None
        assert round(due - self.clock.now(), 3) == round(after_s, 3)
        await self.passes(after_s)
        await self.told(Reason.CONNECTED, State.CONNECTED)
        assert len(self.engines) == engines + 1

    async def heals_in_place(self) -> None:
        """The next action is whatsmeow's own: connected again with the same engine."""
        engines = len(self.engines)
        await self.told(Reason.CONNECTED, State.CONNECTED)
        assert len(self.engines) == engines

    async def holds(self) -> None:
        """There is no next action: a day later still nothing has been tried."""
        assert self.status.next_attempt_at is None
        before, engines = self.status, len(self.engines)
        async with asyncio.timeout(PATIENCE_S):
            while self.supervisor.engine is not None:
                await asyncio.sleep(0)
        self.clock.advance(DAY_S)
        await asyncio.sleep(0)
        assert (self.status, len(self.engines)) == (before, engines)

    def crash_engine(self) -> None:
        """The engine ends by a fault of its own."""
        pid = self.engines[-1].pid
        assert pid is not None
        os.kill(pid, signal.SIGABRT)

    def lost(self, reason: Reason) -> float | None:
        """Usable connections lost for that reason."""
        return self.metric("whatsapp_disconnects_total", reason=reason.value)

    def given_up(self, reason: Reason) -> float | None:
        """Engines given up or lost for that reason."""
        return self.metric("whatsapp_engine_recycles_total", reason=reason.value)

    def asked(self, outcome: str) -> float | None:
        """Questions whether the connection hears that ended like that."""
        return self.metric("whatsapp_connection_questions_total", outcome=outcome)

    def attempts(self, result: str) -> float | None:
        """Login attempts that ended like that."""
        return self.metric("whatsapp_connect_attempts_total", result=result)

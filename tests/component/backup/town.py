"""Machines, one after the other, with one session in PostgreSQL and backups that are elsewhere."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg

from service.backup.home_postgres import PostgresHome
from service.backup.model import Cause
from service.backup.report import Outcome
from service.backup.session_rows import copy_in
from service.backup.vault_directory import DirectoryVault
from service.engine.session_postgres import PostgresSession
from tests.clock import FakeClock
from tests.component.backup.house import KEY, House
from tests.unit.backup.whole import WholeSession, rows_of

ACCOUNT = "default"
SCHEMA = '"beacon_session_default"'
RATCHETS = {"whatsmeow_sessions", "whatsmeow_sender_keys"}
LOST = f"DROP SCHEMA {SCHEMA} CASCADE"


class Town:
    """Processes, one after the other, with one database and one vault, which is elsewhere."""

    def __init__(self, folder: Path, url: str, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.url = url
        self.clock = FakeClock()
        self._stack = stack
        self._moved_in = 0

    async def house(self, *, keys: Sequence[str] = (KEY,), in_file: bool = False) -> House:
        """Another machine: nothing of an earlier one is on its disk."""
        self._moved_in += 1
        folder = self.folder / f"machine-{self._moved_in}"
        session = PostgresSession(self.url, account=ACCOUNT, path=folder / "session.db")
        home = PostgresHome(session, mirror=folder / "mirror.db")
        self._stack.push_async_callback(home.close)
        vault = DirectoryVault(self.folder / "vault", account=ACCOUNT)
        self._stack.push_async_callback(vault.close)
        house = House(
            folder,
            vault,
            account=ACCOUNT,
            clock=self.clock,
            keys=tuple(keys),
            home=None if in_file else home,
        )
        if not in_file:  # House makes an empty file for its engine, which is none of ours
            house.file.prepare = lambda: None  # type: ignore[method-assign]
        return house

    async def ask(self, *statements: str) -> Any:
        """Past everybody; what the last one answers."""
        base = await asyncpg.connect(self.url, server_settings={"search_path": SCHEMA})
        try:
            for statement in statements[:-1]:
                await base.execute(statement)
            return await base.fetchval(statements[-1])
        finally:
            await base.close()

    async def link(self, house: House, *, seed: int = 1, rows: int = 20) -> WholeSession:
        """A phone is linked: an engine filled the tables."""
        path = house.folder / f"linked-{seed}.db"
        session = WholeSession(path, seed=seed).make(rows=rows)
        base = await asyncpg.connect(self.url, server_settings={"search_path": SCHEMA})
        try:
            async with base.transaction():
                await copy_in(path, base)
        finally:
            await base.close()
        await house.home.adopt()
        return session

    async def rows(self, house: House) -> dict[str, set[tuple[object, ...]]]:
        """What is in the tables now."""
        async with house.shelf.scratch.file() as path:
            await house.home.copy(path)
            return rows_of(path)


async def kept(town: Town, *, clean: bool, rows: int = 20, fence: int = 1) -> House:
    """A first process links a phone, keeps the session and is gone."""
    first = await town.house()
    await first.takes_over(fence)
    await town.link(first, rows=rows)
    report = await first.backups.back_up(Cause.PAIRED)
    assert report.outcome is Outcome.KEPT, report
    if clean:
        await first.leaves()
    return first

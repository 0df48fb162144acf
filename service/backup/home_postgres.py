"""The session in PostgreSQL, as its backups and its custody meet it.

What is known of it lies in the same database, so it is right whichever machine asks. Everything that changes
the session does so in one transaction, which fails when a later owner has opened the session.
"""

import asyncio
import secrets
from pathlib import Path
from typing import Final

import asyncpg
import msgspec
import structlog

from service.backup.aside_postgres import set_aside
from service.backup.local import Found, Lineage
from service.backup.mirror import Mirror
from service.backup.schedule import Signature
from service.backup.session_rows import GONE, TORN, copy_in, copy_out
from service.backup.session_tables import TABLES, VERSION
from service.engine.session_postgres import OURS, PostgresSession, drop_ratchets
from service.errors import BackupError, StoreError
from service.postgres import TROUBLE, described

log = structlog.get_logger(__name__)

_COLUMNS: Final = """
    SELECT table_name::text AS name, array_agg(column_name::text) AS columns
    FROM information_schema.columns
    WHERE table_schema = current_schema() AND table_name LIKE 'whatsmeow\\_%'
    GROUP BY table_name"""
_CHANGES: Final = """
    SELECT relid::bigint, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables
    WHERE schemaname = current_schema() AND relname LIKE 'whatsmeow\\_%' ORDER BY relid"""
_READ_ALL: Final = 'SELECT sum(length(t::text)) FROM "{}" AS t'
_DEADLINE_S: Final = 60.0
"""For one table; counting rows alone would not read them."""


class PostgresHome:
    """A session in a database. `mirror` is a file in which the copy made last may stay."""

    shared = True

    def __init__(self, session: PostgresSession, *, mirror: Path) -> None:
        self._session = session
        self._mirror = Mirror(mirror)
        self._watch: asyncpg.Connection | None = None
        self._seen: Signature = ()
        self._opened: int | None = None

    @property
    def place(self) -> str:
        """The tables."""
        return f"the database, schema {self._session.schema}"

    async def open(self, fence: int) -> bool:
        """As PostgresSession.open."""
        dropped = await self._session.open(fence=fence)
        if dropped or fence != self._opened:  # whoever waits for the vault opens it again and again
            log.info("session.opened", store="postgres", fence=fence, sessions_dropped=dropped)
        self._opened = fence
        return self._session.undone

    async def behind(self) -> bool:
        """What a server loses of its own log, `open` finds out."""
        return False

    async def look(self) -> Found:
        """Whether all that version's tables are there, and PostgreSQL can read them."""
        async with self._session.connected() as base:
            try:
                return await _found(base)
            except (*GONE, *TORN) as error:
                log.warning("session.damaged", error=described(error))
                return Found.DAMAGED

    async def cleared(self) -> bool:
        """There is a mark beside where the tables were; only the owner of the lease sets it."""
        return self._session.cleared

    async def replaced_by_another(self) -> None:
        """The mark goes."""
        if self._session.cleared:
            async with self._session.changing() as base:
                await base.execute(f"UPDATE {OURS} SET cleared = false")  # noqa: S608
            self._session.cleared = False

    async def identity(self) -> str:
        """As PostgresSession.identity."""
        return self._session.identity()

    async def lineage(self) -> Lineage | None:
        """What the database says of the session that is in it."""
        noted = await self._noted()
        return noted if noted is not None and noted.identity == self._session.identity() else None

    async def note(
        self, *, epoch: int, fence: int, adopted: bool = False, clean_at: float | None = None
    ) -> None:
        """The session is in our hands; what was undone before has been seen to."""
        lineage = Lineage(
            identity=self._session.identity(), epoch=epoch, fence=fence, adopted=adopted, clean_at=clean_at
        )
        async with self._session.changing() as base:
            text = msgspec.json.encode(lineage).decode()
            await base.execute(f"UPDATE {OURS} SET lineage = $1, undone = false", text)  # noqa: S608
        self._session.undone = False

    async def adopt(self) -> None:
        """As Local.adopt."""
        if (noted := await self._noted()) is not None:
            await self.note(epoch=noted.epoch, fence=noted.fence, adopted=True)

    async def copy(self, target: Path) -> None:
        """Row by row, in one transaction that sees one moment."""
        async with self._session.connected() as base:
            await copy_out(base, target)
        await asyncio.to_thread(self._mirror.lay_out, target)

    async def resemble(self, copy: Path) -> None:
        """The next copy begins from that one."""
        await asyncio.to_thread(self._mirror.begin_from, copy)

    async def drop_ratchets(self) -> int:
        """In the tables themselves."""
        async with self._session.changing() as base:
            return await drop_ratchets(base)

    async def set_aside(self, label: str, *, now: float) -> None:
        """The tables stay under another name."""
        async with self._session.changing(identity=secrets.token_hex(8)) as base:
            await set_aside(base, label, now=now)

    async def replace(self, restored: Path, *, identity: str | None, aside: str | None, now: float) -> None:
        """All of it in one transaction; a session that can be used is in the way unless it is set aside."""
        async with self._session.changing(identity=identity or secrets.token_hex(8)) as base:
            if aside is not None:
                await set_aside(base, aside, now=now)
            elif await _found(base) is Found.DEVICE:
                raise StoreError("session database: a session that can be used is in the way")
            await copy_in(restored, base)
        try:
            await self.resemble(restored)
        except BackupError as error:  # it is in place; only the next backup stores more
            log.warning("backup.laid_out_anew", error=str(error))

    async def signature(self) -> Signature:
        """What the server has counted. While it cannot be asked, nothing changes."""
        try:
            if self._watch is None or self._watch.is_closed():
                self._watch = await self._session.connect()
            rows = await self._watch.fetch(_CHANGES)
        except (*TROUBLE, ValueError) as error:
            log.info("session.changes_unknown", error=described(error))
            await self.close()
        else:
            self._seen = tuple((int(table), int(changes)) for table, changes in rows)
        return self._seen

    async def close(self) -> None:
        """End the connection that looks for changes; never waits for the database."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.terminate()

    async def _noted(self) -> Lineage | None:
        async with self._session.connected() as base:
            text = await base.fetchval(f"SELECT lineage FROM {OURS}")  # noqa: S608
        try:
            return None if text is None else msgspec.json.decode(text, type=Lineage)
        except msgspec.MsgspecError:
            return None


async def _found(base: asyncpg.Connection) -> Found:
    there = {str(row["name"]): set(row["columns"]) for row in await base.fetch(_COLUMNS)}
    version = await base.fetchval("SELECT version FROM whatsmeow_version")
    if version is None:
        return Found.NOTHING if there.keys() == {TABLES[0].name} else Found.DAMAGED
    if version == VERSION and not all(set(table.names) <= there.get(table.name, set()) for table in TABLES):
        return Found.DAMAGED
    for name in sorted(there):
        await base.fetchval(_READ_ALL.format(name), timeout=_DEADLINE_S)
    device = await base.fetchval("SELECT true FROM whatsmeow_device LIMIT 1")
    return Found.LOGGED_OUT if device is None else Found.DEVICE

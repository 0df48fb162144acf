"""A copy of the session that changes only where the session did, so that a backup stores only what is new.

Rows that are read from another database and written into a fresh file fill it from end to end: one more in
the middle moves all that follow, and every page is another. So what changed is brought into the copy made
before, in place, as whatsmeow does in a file of its own. Everything here blocks: run it in a thread.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import structlog

from service.backup.session_tables import TABLES, Table, quoted
from service.backup.snapshot import LOCK_TIMEOUT_S, sqlite_errors
from service.errors import BackupError

log = structlog.get_logger(__name__)


class Mirror:
    """Lives in one file, as secret as the session; without it, the next copy is laid out anew."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin_from(self, copy: Path) -> None:
        """The next copy is to look like this one. Raises BackupError."""
        with sqlite_errors(self._path):
            _copy(copy, self._path)

    def lay_out(self, fresh: Path) -> None:
        """Give a fresh copy the layout of the one before, and keep it for the next. Raises BackupError."""
        try:
            if self._path.exists():
                with sqlite_errors(self._path):
                    _bring_in(self._path, fresh)
                    _copy(self._path, fresh)
                return
        except BackupError as error:
            log.warning("backup.laid_out_anew", error=str(error))
        self.begin_from(fresh)


def _bring_in(mirror: Path, fresh: Path) -> None:
    with closing(sqlite3.connect(mirror, timeout=LOCK_TIMEOUT_S, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = MEMORY")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("ATTACH ? AS fresh", (str(fresh),))
        database.execute("BEGIN")
        for table in TABLES:
            _bring_in_table(database, table)
        database.execute("COMMIT")


def _bring_in_table(database: sqlite3.Connection, table: Table) -> None:
    """What is unique beside its key could clash half-way; such a row is not changed but made anew."""
    name, key = table.name, table.key
    others = tuple(column for column in table.names if column not in key)
    in_place = bool(key) and not any(column.unique for column in table.columns)
    stays = _same(key if in_place else table.names)
    database.execute(
        f"DELETE FROM main.{name} AS b WHERE NOT EXISTS (SELECT 1 FROM fresh.{name} AS a WHERE {stays})"  # noqa: S608
    )
    changed = ", ".join(f'"{column}" = excluded."{column}"' for column in others)
    conflict = f" ON CONFLICT ({quoted(key)}) DO UPDATE SET {changed}" if in_place else ""
    database.execute(
        f"INSERT INTO main.{name} ({table.listed}) SELECT {quoted(table.names, of='a')} "  # noqa: S608
        f"FROM fresh.{name} AS a WHERE NOT EXISTS "
        f"(SELECT 1 FROM main.{name} AS b WHERE {_same(table.names)}) ORDER BY a.rowid{conflict}"
    )
    counts = [
        database.execute(f"SELECT count(*) FROM {place}.{name}").fetchone()[0]  # noqa: S608
        for place in ("main", "fresh")
    ]
    if counts[0] != counts[1]:
        raise BackupError(f"{name}: the copy has {counts[0]} rows and must have {counts[1]}")


def _same(columns: tuple[str, ...]) -> str:
    return " AND ".join(f'a."{column}" IS b."{column}"' for column in columns)


def _copy(source: Path, target: Path) -> None:
    draft = target.with_name(f"{target.name}.draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    shutil.copyfile(source, draft)
    draft.replace(target)

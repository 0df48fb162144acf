"""What a session consists of, the same in SQLite and in PostgreSQL: whatsmeow makes both from one text."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from importlib import resources
from typing import Final

VERSION: Final = 15
"""Of whatsmeow's sqlstore; the text below is that version's."""

SCHEMA: Final = resources.files("service.backup").joinpath(f"whatsmeow_{VERSION}.sql").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `type` is in lower case, `unique` says that it is another key beside the primary one."""

    name: str
    type: str
    unique: bool


@dataclass(frozen=True, slots=True)
class Table:
    """One table; `key` names the columns of its primary key, in order: none for the table of versions."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of its columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def listed(self) -> str:
        """Its columns for a statement."""
        return quoted(self.names)


def quoted(names: tuple[str, ...], *, of: str = "") -> str:
    """Names for a statement of either database, each of the table `of` when that is given."""
    prefix = f"{of}." if of else ""
    return ", ".join(f'{prefix}"{name}"' for name in names)


def _tables() -> tuple[Table, ...]:
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(SCHEMA)
        names = [
            str(name)
            for (name,) in database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid"
            )
        ]
        return tuple(_table(database, name) for name in names)


def _table(database: sqlite3.Connection, name: str) -> Table:
    found = database.execute("SELECT name, lower(type), pk FROM pragma_table_info(?)", (name,)).fetchall()
    unique = {
        str(column)
        for (column,) in database.execute(
            "SELECT of.name FROM pragma_index_list(?) AS one, pragma_index_info(one.name) AS of "
            "WHERE one.origin = 'u'",
            (name,),
        )
    }
    key = sorted((place, column) for column, _, place in found if place)
    return Table(
        name=name,
        columns=tuple(Column(column, kind, column in unique) for column, kind, _ in found),
        key=tuple(column for _, column in key),
    )


TABLES: Final = _tables()
"""In an order in which each row's owner comes before it."""

"""Sessions with rows in every table that whatsmeow has, full of made-up keys."""

import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Final

from service.backup.session_tables import SCHEMA, TABLES, Column
from tests.unit.backup.sessions import DEVICE

Row = tuple[object, ...]

SIZES: Final = {"adv_account_sig": 64, "adv_device_sig": 64, "signed_pre_key_sig": 64, "hash": 128}
"""In bytes, where whatsmeow asks for another size than 32."""

OWNERS: Final = ("jid", "our_jid")


class WholeSession:
    """A session database in journal mode DELETE; `rng` makes it the same every time."""

    def __init__(self, path: Path, *, seed: int = 1) -> None:
        self.path = path
        self.rng = Random(seed)

    def make(self, *, rows: int = 20) -> "WholeSession":
        """With so many rows in every table that may have more than one."""
        with closing(sqlite3.connect(self.path)) as database, database:
            database.executescript(SCHEMA)
            database.execute("INSERT INTO whatsmeow_version VALUES (15, 8)")
            owners: list[str] = []
            for table in TABLES[1:]:
                once = table.name in {"whatsmeow_device", "whatsmeow_nct_salt"}
                made = [self._row(table.columns, number) for number in range(1 if once else rows)]
                if table.name == "whatsmeow_app_state_version":
                    owners = [str(row[1]) for row in made]
                if table.name == "whatsmeow_app_state_mutation_macs":
                    made = [(row[0], owner, *row[2:]) for row, owner in zip(made, owners, strict=True)]
                marks = ", ".join("?" * len(table.columns))
                database.executemany(f"INSERT INTO {table.name} VALUES ({marks})", made)
        return self

    def _row(self, columns: tuple[Column, ...], number: int) -> Row:
        return tuple(self._value(column, number) for column in columns)

    def _value(self, column: Column, number: int) -> object:
        if column.name in OWNERS:
            return DEVICE
        match column.type:
            case "bytea":
                return self.rng.randbytes(SIZES.get(column.name, 32))
            case "bigint":
                return self.rng.getrandbits(31)
            case "integer":
                return number + 1
            case "boolean":
                return self.rng.randrange(2)
            case "uuid":
                return None
            case _:
                return f"{column.name} Ä {self.rng.getrandbits(60)}"


def rows_of(path: Path) -> dict[str, set[Row]]:
    """All rows, by table."""
    with closing(sqlite3.connect(path)) as database:
        return {
            table.name: set(database.execute(f"SELECT {table.listed} FROM {table.name}")) for table in TABLES
        }

"""Numbered SQL files, each applied once, all of them in one transaction; `user_version` says how far."""

import re
import sqlite3
from importlib import resources

from service.errors import StoreTooNew

_NAME = re.compile(r"(\d{4})_\w+\.sql")


def migrate(connection: sqlite3.Connection) -> list[int]:
    """Bring the schema up to this program's, under the write lock; the numbers of what was applied.

    Raises StoreTooNew when the file was written by a newer program; sqlite3.Error, and nothing is
    changed, when a migration cannot be applied.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        known = migrations()
        if version > max(known):
            raise StoreTooNew(
                f"queue schema {version}: this program knows up to {max(known)}; start the newer one again"
            )
        missing = sorted(number for number in known if number > version)
        for number in missing:
            for statement in statements(known[number]):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return missing


def migrations() -> dict[int, str]:
    """The SQL of each migration by its number."""
    folder = resources.files("service.queue") / "sql" / "sqlite"
    return {
        int(found[1]): file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if (found := _NAME.fullmatch(file.name))
    }


def statements(sql: str) -> list[str]:
    """The single statements of a script; `executescript` would commit before it begins."""
    found, rest = [], ""
    for line in sql.splitlines(keepends=True):
        rest += line
        if sqlite3.complete_statement(rest):
            found.append(rest.strip())
            rest = ""
    return found

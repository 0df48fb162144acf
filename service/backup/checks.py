"""Whether a session is fit to stand in for the last good copy, or to be run.

SQLite's own checks pass a torn file and an emptied one; so it is also asked whether what a session needs is
in it.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from service.backup.model import Refusal
from service.backup.snapshot import Facts, digest, open_to_read, sqlite_errors
from service.errors import SnapshotRefused

KNOWN_SCHEMA: Final = 15  # whatsmeow's sqlstore
ENOUGH_TO_TELL: Final = 10
LASTING: Final = ("whatsmeow_identity_keys", "whatsmeow_app_state_sync_keys", "whatsmeow_lid_map")


def check(path: Path, *, expected_device: str | None, before: Mapping[str, int] | None) -> Facts:
    """What the session is, when it is fit. Blocks; no engine may run on it, and a snapshot is best.

    `expected_device` is the JID backed up so far, `before` the rows by table of the last good copy; None asks
    nothing. Raises SnapshotRefused with the reason, BackupError when it cannot be read now.
    """
    if not path.exists():
        raise SnapshotRefused(Refusal.NO_DEVICE, "there is no session")
    with sqlite_errors(path), open_to_read(path) as database:
        _check_pages(database)
        rows = _rows(database)
        schema_version = _schema(database, rows)
        device_jid = _device(database, rows, expected_device)
        _check_references(database)
    _check_keys(rows, before or {})
    return Facts(
        device_jid=device_jid,
        schema_version=schema_version,
        size_bytes=path.stat().st_size,
        sha256=digest(path),
        rows=rows,
    )


def _check_pages(database: sqlite3.Connection) -> None:
    found = [str(row[0]) for row in database.execute("PRAGMA quick_check(1)")]
    if found != ["ok"]:
        raise SnapshotRefused(Refusal.DAMAGED, "the session is damaged: quick_check does not say ok")


def _check_references(database: sqlite3.Connection) -> None:
    if database.execute("PRAGMA foreign_key_check").fetchone() is not None:
        raise SnapshotRefused(Refusal.DAMAGED, "the session is damaged: a row belongs to no device")


def _rows(database: sqlite3.Connection) -> dict[str, int]:
    tables = [
        str(name)
        for (name,) in database.execute(
            r"SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'whatsmeow\_%' ESCAPE '\'"
        )
    ]
    counted = {}
    for table in sorted(tables):
        quoted = '"' + table.replace('"', '""') + '"'
        counted[table] = int(database.execute(f"SELECT count(*) FROM {quoted}").fetchone()[0])  # noqa: S608
    return counted


def _schema(database: sqlite3.Connection, rows: Mapping[str, int]) -> int:
    if not rows:
        raise SnapshotRefused(Refusal.NO_DEVICE, "the session is empty")
    if not rows.get("whatsmeow_version"):
        raise SnapshotRefused(Refusal.UNKNOWN_SCHEMA, "the session does not say its version")
    version, compat = database.execute("SELECT version, compat FROM whatsmeow_version").fetchone()
    oldest = (
        version if compat is None else compat
    )  # the oldest program that may use it (go.mau.fi/util/dbutil)
    if not (isinstance(version, int) and isinstance(oldest, int) and 0 < oldest <= KNOWN_SCHEMA):
        raise SnapshotRefused(
            Refusal.UNKNOWN_SCHEMA,
            f"the session's version {version} is not known; it must allow {KNOWN_SCHEMA}",
        )
    return version


def _device(database: sqlite3.Connection, rows: Mapping[str, int], expected: str | None) -> str:
    devices = rows.get("whatsmeow_device", 0)
    if devices == 0:
        raise SnapshotRefused(Refusal.NO_DEVICE, "the session has no device: never paired, or logged out")
    if devices > 1:
        raise SnapshotRefused(Refusal.MANY_DEVICES, f"the session has {devices} devices; it must have one")
    (jid,) = database.execute("SELECT jid FROM whatsmeow_device").fetchone()
    if not isinstance(jid, str) or not jid:
        raise SnapshotRefused(Refusal.DAMAGED, "the session is damaged: its device has no JID")
    if expected is not None and jid != expected:
        raise SnapshotRefused(Refusal.FOREIGN_DEVICE, "the session is of another device than the backups")
    return jid


def _check_keys(rows: Mapping[str, int], before: Mapping[str, int]) -> None:
    if not rows.get("whatsmeow_pre_keys"):
        raise SnapshotRefused(Refusal.COLLAPSED, "the session has no prekeys")
    for table in LASTING:
        had, has = before.get(table, 0), rows.get(table, 0)
        if had >= ENOUGH_TO_TELL and 2 * has < had:
            raise SnapshotRefused(Refusal.COLLAPSED, f"{table} has {has} rows and had {had}")

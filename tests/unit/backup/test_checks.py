"""Which sessions are fit to stand in for the last good copy."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from service.backup.checks import check
from service.backup.model import Refusal
from service.backup.snapshot import drop_ratchets, take_snapshot
from service.errors import BackupError, SnapshotRefused
from tests.people import ANN
from tests.unit.backup.sessions import DEVICE, Session

LOGGED_OUT = "PRAGMA foreign_keys = ON; DELETE FROM whatsmeow_device;"
ANOTHER = "INSERT INTO whatsmeow_device SELECT 'second@s.whatsapp.net', lid, registration_id, noise_key, "


def copy_of(session: Session, script: str = "") -> Path:
    with closing(sqlite3.connect(session.path)) as database:
        database.executescript(script)
    copy = session.path.with_name("copy.db")
    take_snapshot(session.path, copy)
    return copy


def test_a_session_in_use_is_fit(session: Session) -> None:
    copy = copy_of(session)
    facts = check(copy, expected_device=DEVICE, before=None)

    assert (facts.device_jid, facts.schema_version) == (DEVICE, 15)
    assert facts.size_bytes == copy.stat().st_size
    assert facts.rows["whatsmeow_sessions"] == 12
    assert facts.rows["whatsmeow_message_secrets"] == 300
    assert check(copy, expected_device=None, before=facts.rows) == facts


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (LOGGED_OUT, Refusal.NO_DEVICE),
        (f"PRAGMA foreign_keys = ON; UPDATE whatsmeow_device SET jid = '{ANN}:1@s'", Refusal.FOREIGN_DEVICE),
        (ANOTHER + "identity_key, platform FROM whatsmeow_device", Refusal.MANY_DEVICES),
        ("DELETE FROM whatsmeow_pre_keys", Refusal.COLLAPSED),
        ("DELETE FROM whatsmeow_identity_keys WHERE rowid > 5", Refusal.COLLAPSED),
        ("DELETE FROM whatsmeow_app_state_sync_keys", Refusal.COLLAPSED),
        ("DROP TABLE whatsmeow_lid_map", Refusal.COLLAPSED),
        ("UPDATE whatsmeow_version SET version = 21, compat = 20", Refusal.UNKNOWN_SCHEMA),
        ("DELETE FROM whatsmeow_version", Refusal.UNKNOWN_SCHEMA),
        ("UPDATE whatsmeow_version SET version = 'x'", Refusal.UNKNOWN_SCHEMA),
    ],
)
def test_an_unfit_session_is_refused_with_the_reason(session: Session, script: str, reason: Refusal) -> None:
    before = check(copy_of(session), expected_device=DEVICE, before=None).rows
    session.path.with_name("copy.db").unlink()
    with pytest.raises(SnapshotRefused) as caught:
        check(copy_of(session, script), expected_device=DEVICE, before=before)
    assert caught.value.reason == reason
    assert ANN not in str(caught.value)


def test_rows_that_belong_to_no_device_are_damage(session: Session) -> None:
    copy = copy_of(session, f"UPDATE whatsmeow_device SET jid = '{ANN}:1@s.whatsapp.net'")
    with pytest.raises(SnapshotRefused, match="belongs to no device") as caught:
        check(copy, expected_device=None, before=None)
    assert caught.value.reason == Refusal.DAMAGED


def test_a_newer_schema_that_ours_may_use_is_fit(session: Session) -> None:
    copy = copy_of(session, "UPDATE whatsmeow_version SET version = 16, compat = 8")

    assert check(copy, expected_device=DEVICE, before=None).schema_version == 16


@pytest.mark.parametrize("data", [None, b"", b"no database at all" * 500], ids=["missing", "empty", "other"])
def test_no_session_at_all_is_refused(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "session.db"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SnapshotRefused) as caught:
        check(path, expected_device=None, before=None)
    assert caught.value.reason == (Refusal.DAMAGED if data else Refusal.NO_DEVICE)


def test_a_session_that_began_its_ratchets_anew_is_fit_and_keeps_all_else(session: Session) -> None:
    copy = copy_of(session)
    before = check(copy, expected_device=DEVICE, before=None).rows

    assert drop_ratchets(copy) == 12
    after = check(copy, expected_device=DEVICE, before=before).rows
    assert after == {**before, "whatsmeow_sessions": 0, "whatsmeow_sender_keys": 0}
    assert before["whatsmeow_sender_keys"] > 0


def test_a_snapshot_never_writes_over_a_file(session: Session) -> None:
    copy = copy_of(session)
    before = copy.read_bytes()
    with pytest.raises(BackupError, match="File exists"):
        take_snapshot(session.path, copy)
    assert copy.read_bytes() == before

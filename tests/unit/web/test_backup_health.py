"""When the backups are worth a warning, and which."""

from dataclasses import replace

import pytest

from service.backup.report import BackupStatus
from service.web.backup_health import Seen, warning

NOW = 1_700_000_000.0
HOUR = 3600.0
GOOD = BackupStatus(
    enabled=True,
    place="the database",
    local_key=False,
    epoch=3,
    last_success_at=NOW - 60,
    last_verified_at=NOW - HOUR,
)


def said(status: BackupStatus, *, connected: bool = True, up_s: float = 100 * HOUR) -> str | None:
    return warning(Seen(status=status, connected=connected, interval_s=1800, started_at=NOW - up_s, now=NOW))


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        pytest.param(
            replace(GOOD, last_success_at=NOW - 5401), "The newest backup is 90 minutes old.", id="old"
        ),
        pytest.param(
            replace(GOOD, last_success_at=NOW - 7200, trouble="no room"),
            "The newest backup is 120 minutes old: no room",
            id="old-with-a-reason",
        ),
        pytest.param(replace(GOOD, last_success_at=None), "No backup has been made yet.", id="never-made"),
        pytest.param(
            replace(GOOD, last_verified_at=NOW - 25 * HOUR),
            "No backup has been fetched and checked for more than a day.",
            id="unverified",
        ),
        pytest.param(
            replace(GOOD, last_verified_at=None),
            "No backup has been fetched and checked for more than a day.",
            id="never-verified",
        ),
        pytest.param(
            replace(GOOD, verify_trouble="chunk 1 is damaged"),
            "The last check of a backup failed: chunk 1 is damaged",
            id="not-good",
        ),
        pytest.param(
            replace(GOOD, epoch=None, unprotected=True),
            "Connected while the place of the backups does not answer: none are made.",
            id="unprotected",
        ),
    ],
)
def test_what_an_operator_should_know_is_said(status: BackupStatus, sentence: str) -> None:
    assert said(status) == sentence


def test_nothing_is_said_when_all_is_well() -> None:
    assert said(GOOD) is None
    assert said(replace(GOOD, place="DATA_DIR")) is None, (
        "a remark of the start says that, and nothing is wrong"
    )
    assert said(replace(GOOD, trouble="no room")) is None, "one that failed is not yet a stale backup"


def test_nothing_is_said_where_none_are_wanted() -> None:
    assert said(BackupStatus(enabled=False, place="nowhere", local_key=False)) is None


def test_a_process_that_stands_by_is_not_the_one_to_make_them() -> None:
    assert said(replace(GOOD, epoch=None, last_success_at=NOW - 90 * HOUR, last_verified_at=None)) is None
    assert said(replace(GOOD, epoch=None, verify_trouble="not open")) is None


def test_what_is_not_linked_yet_needs_no_backup() -> None:
    unlinked = replace(GOOD, last_success_at=None, last_verified_at=None)
    assert said(unlinked, connected=False) is None


def test_a_process_that_has_just_started_has_time_for_its_first() -> None:
    assert said(replace(GOOD, last_success_at=None, last_verified_at=None), up_s=60) is None
    assert said(replace(GOOD, last_verified_at=None), up_s=60) is None

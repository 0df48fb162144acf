"""Which backups stay."""

from service.backup.model import Kept
from service.backup.retention import DAY_S, superfluous

NOW = 1_700_000_000.0
MINUTE = 60.0


def backups(*ages_s: float, verified: tuple[int, ...] = ()) -> list[Kept]:
    """The latest first; the first has the highest sequence."""
    return [
        Kept(
            sequence=(sequence := len(ages_s) - at),
            epoch=1,
            taken_at=NOW - age_s,
            clean=False,
            key_id="00",
            size_bytes=1,
            stored_bytes=1,
            verified_at=NOW if sequence in verified else None,
        )
        for at, age_s in enumerate(ages_s)
    ]


def stay(listed: list[Kept]) -> list[int]:
    gone = superfluous(listed, now=NOW)
    return [kept.sequence for kept in listed if kept.sequence not in gone]


def test_the_last_24_stay_however_close_they_are() -> None:
    listed = backups(*(at * MINUTE for at in range(40)))
    assert stay(listed)[:24] == [kept.sequence for kept in listed[:24]]


def test_of_older_ones_the_last_of_each_day_stays_for_two_weeks() -> None:
    listed = backups(*(at * DAY_S / 4 for at in range(4 * 20)))
    kept = stay(listed)[24:]
    days = [int(backup.taken_at // DAY_S) for backup in listed if backup.sequence in kept]
    assert len(days) == len(set(days))
    assert min(days) >= int((NOW - 14 * DAY_S) // DAY_S)
    assert 8 <= len(days) <= 10, "the other days are among the last 24"


def test_a_few_stay_however_old_they_are() -> None:
    listed = backups(100 * DAY_S, 200 * DAY_S)
    assert stay(listed) == [2, 1]


def test_the_last_one_that_was_checked_stays() -> None:
    listed = backups(*(at * MINUTE for at in range(40)), verified=(3, 2))
    assert 3 in stay(listed)
    assert 2 not in stay(listed)


def test_nothing_is_forgotten_of_nothing() -> None:
    assert superfluous([], now=NOW) == []

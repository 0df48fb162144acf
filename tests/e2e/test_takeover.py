"""Two services, one account, one PostgreSQL: one connects, and the other takes over."""

from pathlib import Path

from tests.chaos.takeover import Blow, play


async def test_never_are_both_logged_in_and_the_other_takes_over(tmp_path: Path) -> None:
    figures = await play(tmp_path, [Blow.SIGTERM, Blow.CUT_OFF])
    assert figures["overlap_ms"] == 0, figures
    assert figures["logins_too_many"] == 0, figures

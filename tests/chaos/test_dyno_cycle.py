"""A dyno's end costs no message and no new link; and when a row of such ends counts as survived."""

from dataclasses import replace
from pathlib import Path

import pytest

from service.backup.model import RestoreKind
from tests.chaos.dyno_cycle import Blow, Report, Round, play

SIGTERM = Round(
    blow=Blow.SIGTERM,
    restored=RestoreKind.EXACT,
    qr=False,
    outbound=40,
    outbound_lost=0,
    inbound=30,
    inbound_lost=0,
    inbound_acked_unseen=0,
    undecryptable=0,
    sessions_dropped=0,
    restore_ms=20,
    connected_ms=3000,
    ended_ms=400,
)
SIGKILL = replace(
    SIGTERM,
    blow=Blow.SIGKILL,
    restored=RestoreKind.RATCHETS_DROPPED,
    inbound_acked_unseen=1,
    undecryptable=30,
    sessions_dropped=2,
)
SURVIVED = Report(
    seed=1,
    linked=1,
    outbound_duplicates=1,
    inbound_repeated=0,
    outbound_dropped=0,
    inbound_dropped=0,
    rounds=(SIGTERM, SIGKILL),
)


@pytest.mark.timeout(240)
async def test_a_dyno_that_stops_and_one_that_is_killed_lose_nothing(tmp_path: Path) -> None:
    report = await play(tmp_path, list(Blow), seed=7, readers=["Ann"], writers=["Ann"], free_lease=True)
    assert report.holds, report
    assert [one.restored for one in report.rounds] == [RestoreKind.EXACT, RestoreKind.RATCHETS_DROPPED]


def test_rounds_that_kept_every_promise_are_survived() -> None:
    assert SURVIVED.holds


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(replace(SIGTERM, qr=True), id="a phone is asked for"),
        pytest.param(replace(SIGTERM, restored=None), id="no session came back"),
        pytest.param(replace(SIGTERM, outbound_lost=1), id="a message to a person is lost"),
        pytest.param(replace(SIGTERM, inbound_lost=1), id="a message to the bot is lost"),
        pytest.param(
            replace(SIGTERM, inbound_acked_unseen=1), id="an orderly stop takes what it cannot tell"
        ),
        pytest.param(replace(SIGTERM, inbound=0), id="nobody wrote"),
    ],
)
def test_a_broken_promise_is_a_failure(broken: Round) -> None:
    assert not replace(SURVIVED, rounds=(broken, SIGKILL)).holds


def test_a_phone_that_was_linked_again_is_a_failure() -> None:
    assert not replace(SURVIVED, linked=2).holds


def test_figures_are_summed_and_told_apart_by_the_blow() -> None:
    figures = SURVIVED.as_dict()
    assert (figures["rounds"], figures["outbound"], figures["inbound_acked_unseen"]) == (2, 80, 1)
    assert figures["by_blow"]["sigterm"]["exact"] == 1
    assert figures["by_blow"]["sigkill"]["exact"] == 0

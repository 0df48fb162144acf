"""The shipped alerts fire: real Prometheus and Alertmanager, real services and clients, faults really made.

A minute lasts a second (`alerting/scaled.py` has the exceptions). Six services fail at the same time, each
in its own way (`alerting/stories.py`), after a while in which all of them are well. Three things are played
otherwise than they happen: backups are asked for every few seconds, because the service's own hours are not
scaled; and the last signs of a dispatcher and lost events are told by an exporter.
"""

import asyncio
import time
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from service.demo.check import pair
from service.demo.people import BEACON, contact
from tests.alertmanager import Told
from tests.e2e.alerting import stories
from tests.e2e.alerting.stage import ALWAYS, TOKEN, Account, Stage, account, stage
from tests.people import ANN
from tests.unit.alerts.shipped import alerts

QUIET_S: Final = 15.0
WELL_S: Final = 90.0
NAMES: Final = sorted({alert.name for alert in alerts()} - {ALWAYS})
SETTINGS: Final = {
    "letters": {"UNKNOWN_WAIT": "40"},
    "vault": {"BACKUP_ENABLED": "true", "BACKUP_KEYS": "0f" * 32},
}

pytestmark = pytest.mark.timeout(480)


@dataclass
class Play:
    """What was seen."""

    told: list[Told] = field(default_factory=list)
    fired_in_quiet: set[tuple[str, str]] = field(default_factory=set)
    quiet_from: float = 0.0
    quiet_to: float = 0.0
    troubles: dict[str, BaseException] = field(default_factory=dict)

    def of(self, alert: str, *, status: str, channel: str = "beacon") -> list[Told]:
        """Its notifications after the quiet time; those about everything being down came before."""
        since = 0.0 if alert == "WhatsAppDown" else self.quiet_to
        return [
            one
            for one in self.told
            if (one.labels["alertname"], one.status, one.channel) == (alert, status, channel)
            and one.at >= since
        ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def play(tmp_path_factory: pytest.TempPathFactory) -> Play:
    """All of it, once."""
    return await played(tmp_path_factory.mktemp("alerts"))


async def played(folder: Path) -> Play:
    """Prologue, quiet time, and all stories at the same time."""
    seen = Play()
    async with AsyncExitStack() as stack:
        accounts = [await stack.enter_async_context(_account(name, folder)) for name in stories.STORIES]
        scene = await stack.enter_async_context(stage(folder, accounts))
        await scene.fires("WhatsAppDown", None)
        async with asyncio.TaskGroup() as starting:
            for one in accounts:
                starting.create_task(_starts(one, stack))
        bots = {one.name: one for one in accounts}
        bots["deaf"].simulator.faults.deaf(BEACON)
        await stack.enter_async_context(stories.kept_well(bots["vault"]))
        await _quiet(scene, bots["letters"], folder, seen)
        scene.forgets()
        tasks = {
            **{
                name: asyncio.create_task(story(scene, bots[name])) for name, story in stories.STORIES.items()
            },
            "exporter": asyncio.create_task(stories.exporter(scene)),
        }
        await asyncio.wait(tasks.values())
        seen.troubles = {
            name: error for name, task in tasks.items() if (error := task.exception()) is not None
        }
        seen.told = scene.inbox.told
    return seen


def test_no_alert_fires_in_a_quiet_run(play: Play) -> None:
    assert play.fired_in_quiet == set()
    quiet = [one for one in play.told if play.quiet_from <= one.at <= play.quiet_to]
    # that one of the prologue, when a slow machine was long in linking, is over may be told a little later
    assert {one.labels["alertname"] for one in quiet if one.status == "firing"} == {ALWAYS}


@pytest.mark.parametrize("name", NAMES)
def test_it_fires_people_are_told_where_to_read_on_and_it_resolves(play: Play, name: str) -> None:
    assert play.of(name, status="firing"), play.troubles
    for one in play.of(name, status="firing"):
        assert one.authorization == f"Bearer {TOKEN}"
        assert one.annotations["runbook_url"] == f"http://localhost:8081/{name}.md"
        assert "{{" not in one.annotations["description"]
        assert "<no value>" not in one.annotations["description"]
    assert play.of(name, status="firing", channel="mail"), "a second channel is told as well"
    assert play.of(name, status="resolved"), play.troubles


def test_every_story_came_to_its_end(play: Play) -> None:
    assert play.troubles == {}


def test_the_heartbeat_goes_on_all_the_time(play: Play) -> None:
    beats = [one.at for one in play.told if one.channel == "heartbeat"]
    assert {one.labels["alertname"] for one in play.told if one.channel == "heartbeat"} == {ALWAYS}
    assert len(beats) > 5
    assert beats[0] < play.quiet_from < play.quiet_to < beats[-1]


def _account(name: str, folder: Path) -> AbstractAsyncContextManager[Account]:
    settings = dict(SETTINGS.get(name, {}))
    if name == "vault":
        place = folder / name / "place"
        settings["BACKUP_DIR"] = str(place / "vault")
    return account(name, folder / name, **settings)


async def _starts(bot: Account, stack: AsyncExitStack) -> None:
    """Its process starts, a phone is linked, and it is connected."""
    await bot.host.spawn()
    stack.push_async_exit(bot.host)
    await pair(bot.host, bot.simulator)


async def _quiet(scene: Stage, letters: Account, folder: Path, seen: Play) -> None:
    """Everything is well, and messages come and go."""
    async with asyncio.timeout(WELL_S):
        while await scene.stirring():  # to link a phone takes minutes of the rules' time
            await asyncio.sleep(0.1)
    await scene.resolves("WhatsAppDown", None)
    async with contact("Ann", ANN, simulator=letters.simulator, folder=folder, heard=lambda: None) as ann:
        seen.quiet_from = time.monotonic()
        while time.monotonic() < seen.quiet_from + QUIET_S:
            await letters.writes(1, to=ANN)
            seen.fired_in_quiet |= await scene.firing()
            await asyncio.sleep(1.0)
        seen.quiet_to = time.monotonic()
        assert ann.inbox

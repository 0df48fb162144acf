"""What docs/pacing.md and the metrics say of pacing is what the code does."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.config import Settings
from service.queue.model import Cooling
from service.queue.pace import table
from service.queue.pace.cooldowns import COURSES
from service.queue.pace.limits import Limits
from service.queue.pace.metrics import OF_THE_ACCOUNT, PaceMetrics, Reason
from service.queue.pace.pacer import Unpaced
from tests.unit.queue.messages import message
from tests.unit.queue.pacing import ANYTHING, Account, stranger

DOCUMENT = (Path(__file__).parents[3] / "docs" / "pacing.md").read_text()


def between_markers(name: str) -> str:
    found = re.search(rf"<!-- {name}:.*?-->\n(.*?)<!-- /{name} -->", DOCUMENT, re.DOTALL)
    assert found, f"docs/pacing.md has no markers for {name}"
    return found[1].strip()


@pytest.mark.parametrize(("name", "written"), [("limits", table.limits()), ("cooldowns", table.cooldowns())])
def test_the_tables_are_the_code_s(name: str, written: str) -> None:
    assert between_markers(name) == written, "write it anew: python -m service.queue.pace.table"


def test_every_setting_of_pacing_has_its_reason() -> None:
    limits = {name for name in Limits.__dataclass_fields__ if name != "zone"}
    assert {why.setting.lower() for why in table.WHYS} == limits | {"pacing"}
    assert limits <= set(Settings.model_fields)


def test_every_cool_down_has_its_row() -> None:
    assert {course.cooling for course in COURSES} == set(Cooling)
    assert len(between_markers("cooldowns").splitlines()) == 2 + len(Cooling)


def test_every_metric_is_in_the_document() -> None:
    registry = CollectorRegistry()
    PaceMetrics(registry, "default")
    families = {family.name + ("_total" if family.type == "counter" else "") for family in registry.collect()}
    assert set(re.findall(r"^\| `(whatsapp_\w+)`", DOCUMENT, re.MULTILINE)) == families


def test_every_series_is_there_from_the_start() -> None:
    account = Account(replace(ANYTHING, send_burst=7), rests_s=3600)
    assert {reason: account.postponed(reason) for reason in Reason} == dict.fromkeys(Reason, 0.0)
    assert {
        reason: account.metric("held", reason=reason.value) for reason in OF_THE_ACCOUNT
    } == dict.fromkeys(OF_THE_ACCOUNT, 0.0)
    for cooling in Cooling:
        assert account.metric("cooldowns_total", cooling=cooling.value) == 0
        assert account.metric("cooldown_until_timestamp_seconds", cooling=cooling.value) == 0
    assert account.metric("tokens") == 7


async def test_without_pacing_everything_goes_at_once_and_the_gauges_say_nothing() -> None:
    registry = CollectorRegistry()
    PaceMetrics(registry, "default")
    pacer = Unpaced()
    await pacer.open()
    await pacer.heard(stranger(1), (), 1.0)
    for _ in range(1000):
        assert pacer.ready_in_s() == 0
        assert await pacer.not_before(message()) is None
        pacer.sent(message())
        await pacer.refused(message(), "reachout_timelocked")
    assert pacer.sentence() is None
    left = registry.get_sample_value("whatsapp_pace_strangers_left", {"account": "default"})
    assert left != left, "NaN"


async def test_as_it_comes_ten_strangers_are_met_a_day_and_the_next_one_waits() -> None:
    account = Account(Limits.of(Settings()), rests_s=0)
    await account.pacer.open()
    for number in range(10):
        assert account.pacer.ready_in_s() == 0
        assert await account.try_to_send(stranger(number)) is None
        account.clock.advance(130)
    assert await account.try_to_send(stranger(10)) is not None
    assert account.pacer.sentence() is not None

"""Every query of every dashboard answers, asked of a real Prometheus after a lively demo with its faults."""

import asyncio
import math
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
import yaml

from service.demo.people import BEACON
from tests.boards import RULES, Question, load, panels, questions, substituted
from tests.chaos.store import FREE_LEASE
from tests.component.postgres import Postgres
from tests.e2e.test_backup import Dyno, dyno
from tests.otlp import OtlpReceiver
from tests.people import ANN
from tests.prometheus import Prometheus, Target

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]

JOB: Final = "beacon"
NOBODY: Final = "127.0.0.1:9"  # the port of `discard`, on which nothing listens
WINDOW: Final = "10s"
SHOWN_S: Final = 400
"""From the first thing that happened, on whatever machine."""
LIVELY: Final = {
    "BACKUP_DIR": "",  # the vault is in the database
    "CHAT_GAP": "0",
    "MEMORY_MB": "4000",
    "MEMORY_LIMIT_MB": "2000",
    "NEW_CHAT_GAP": "0",
    "PACING": "on",
    "SEND_BURST": "1000",
    "SEND_RATE": "6000",
    "UNKNOWN_WAIT": "1",
}
KEEP_LEASE: Final = "UPDATE beacon_lease SET expires_at = clock_timestamp() + interval '1 hour'"
BOARDS: Final = load()


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    """A real PostgreSQL: with one, there is a lease to hold."""
    with Postgres() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prometheus(
    database: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Prometheus]:
    """A Prometheus that has seen everything that the dashboards are about."""
    folder = tmp_path_factory.mktemp("demo")
    url = database.url(await database.create())
    async with (
        OtlpReceiver() as traces,
        dyno(folder, DATABASE_URL=url, OTEL_EXPORTER_OTLP_ENDPOINT=traces.url, **LIVELY) as bot,
    ):
        targets = [Target(bot.host.url.removeprefix("http://")), Target(NOBODY)]
        async with Prometheus({JOB: targets}, rules=impatient(folder)) as watching:
            await play(bot, watching, url)
            yield watching


def impatient(folder: Path) -> list[Path]:
    """The shipped rules, whose alerts fire at once."""
    written = []
    for path in sorted(RULES.glob("*.yml")):
        rules = yaml.safe_load(path.read_text())
        for group in rules["groups"]:
            for rule in group["rules"]:
                rule.pop("for", None)
        written.append(folder / path.name)
        written[-1].write_text(yaml.safe_dump(rules))
    return written


async def play(bot: Dyno, watching: Prometheus, database: str) -> None:
    """A day of an unlucky operator in half a minute."""
    await watching.until(f"max(up{{job='{JOB}'}}) == 1")
    await bot.delivers("one")
    await bot.answers()
    await watching.until("whatsapp_bot_commands_total{result='answered',command='ping'} == 1")

    bot.simulator.faults.cut(BEACON)
    await watching.until("whatsapp_disconnects_total{reason='connection_lost'} == 1")

    bot.simulator.faults.refuse()
    bot.host.kill_engine()
    await bot.host.post([{"to": ANN, "text": "while there is no line"}])
    await watching.until("whatsapp_reconnect_next_attempt_timestamp_seconds > 0")
    await watching.until("whatsapp_queue_oldest_timestamp_seconds > 0")
    bot.simulator.faults.heal()
    await bot.hears(lambda: "while there is no line" in bot.ann.inbox)

    await asks(bot, "/api/v1/backups")
    await asks(bot, "/api/v1/backups/newest/verify")
    await watching.until("whatsapp_backup_last_verified_timestamp_seconds > 0")
    await bot.host.kill()
    await say(database, KEEP_LEASE)
    async with asyncio.TaskGroup() as meanwhile:
        meanwhile.create_task(bot.starts_without_its_disk())
        await watching.until("whatsapp_connection_state{whatsapp_connection_state='waiting_for_lease'} == 1")
        await say(database, FREE_LEASE)
    await bot.delivers("after the disk was lost")

    bot.simulator.faults.nack(429, BEACON)
    await bot.host.post([{"to": ANN, "text": "too much"}])
    await watching.until("whatsapp_pace_cooldown_until_timestamp_seconds{cooling='unasked'} > 0")
    await watching.until("sum(whatsapp_queue_attempts_total{result='rate_limited'}) == 1")
    await watching.until("ALERTS{alertname='WhatsAppTargetDown'} == 1")


async def say(database: str, statement: str) -> None:
    """SQL, as somebody else's process would."""
    connection: asyncpg.Connection = await asyncpg.connect(database)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def asks(bot: Dyno, path: str) -> None:
    """A request without a body is granted."""
    async with aiohttp.ClientSession(bot.host.url) as http, http.post(path) as response:
        assert response.status == 200, await response.text()


@pytest.mark.parametrize("name", BOARDS)
async def test_every_query_returns_data(prometheus: Prometheus, name: str) -> None:
    silent = []
    for question in questions(name, BOARDS[name]):
        answer = await answers(prometheus, question)
        if not any(math.isfinite(value) for _, values in answer for value in values):
            silent.append(str(question))
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize("name", BOARDS)
async def test_legends_and_columns_name_labels_that_are_there(prometheus: Prometheus, name: str) -> None:
    for panel in panels(BOARDS[name]):
        for target in panel.get("targets", ()):
            question = Question(name, panel["title"], target["expr"])
            labels = {label for found, _ in await answers(prometheus, question) for label in found}
            assert set(wanted(panel, target)) <= labels | {"Value"}, question


def wanted(panel: dict[str, Any], target: dict[str, Any]) -> Iterator[str]:
    """The labels that a legend or a table shows."""
    yield from re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", ""))
    for change in panel.get("transformations", ()):
        yield from change["options"].get("indexByName", {})


@pytest.mark.parametrize("name", BOARDS)
async def test_dots_on_latencies_are_traces(prometheus: Prometheus, name: str) -> None:
    without = []
    for panel in panels(BOARDS[name]):
        for target in panel.get("targets", ()):
            if target["exemplar"]:
                asked = substituted(target["expr"], window=WINDOW, span=f"{SHOWN_S}s")
                dots = await prometheus.exemplars(asked, last_s=SHOWN_S)
                if not any(len(dot.labels["trace_id"]) == 32 for dot in dots):
                    without.append(panel["title"])
    assert not without


@pytest.mark.parametrize("name", BOARDS)
async def test_every_variable_has_something_to_choose(prometheus: Prometheus, name: str) -> None:
    for variable in BOARDS[name]["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
            assert asked, variable["query"]
            match = substituted(asked[1], window=WINDOW, span=f"{SHOWN_S}s")
            assert await prometheus.label_values(asked[2], match), variable["query"]


async def answers(prometheus: Prometheus, question: Question) -> list[tuple[dict[str, str], list[float]]]:
    """What the time that is shown looks like."""
    asked = substituted(question.expression, window=WINDOW, span=f"{SHOWN_S}s")
    return await prometheus.query_range(asked, last_s=SHOWN_S)

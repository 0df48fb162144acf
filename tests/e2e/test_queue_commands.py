"""`beacon queue ...` against a service that is running, with nothing but its own HTTP between them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.process import Beacon, beacon, environment, run_to_end
from tests.e2e.test_no_network import NOWHERE
from tests.e2e.test_send import port_of
from tests.people import ANN, BEN

TOKEN = "correct-horse-battery"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Beacon]:
    """A service without WhatsApp: what it is given waits."""
    env = {**NOWHERE, "API_TOKEN": TOKEN, "HOST": "127.0.0.1"}
    async with beacon(tmp_path, env=env, headers={"Authorization": f"Bearer {TOKEN}"}) as service:
        yield service


async def queue(service: Beacon, *arguments: str, code: int = 0) -> str:
    """What `beacon queue ARGUMENTS` says, on stderr when it fails."""
    env = environment(api_token=TOKEN, port=await port_of(service.http))
    ended, out, err = await run_to_end("queue", *arguments, env=env)
    assert ended == code, out + err
    return err if code else out


async def queue_json(service: Beacon, *arguments: str) -> Any:
    """The last line of `beacon queue ARGUMENTS --json`."""
    return json.loads((await queue(service, *arguments, "--json")).splitlines()[-1])


async def test_messages_are_listed_shown_held_released_and_taken_back(running: Beacon) -> None:
    ids = []
    for to in (ANN, BEN, ANN):
        _, accepted = await running.post("/api/v1/messages", {"to": f"+{to}", "text": "hello"})
        ids.append(accepted["id"])
    first, second, third = ids

    assert [one["id"] for one in (await queue_json(running, "list"))["messages"]] == [third, second, first]
    of_ann = await queue_json(running, "list", "--chat", f"+{ANN}", "--limit", "1")
    assert [one["id"] for one in of_ann["messages"]] == [third]
    assert (await queue_json(running, "show", first))["state"] == "queued"

    assert (await queue(running, "hold", second)).strip() == f"{second} held"
    table = await queue(running, "list", "--state", "held")
    assert table.splitlines()[0].split()[:3] == ["ID", "STATE", "TYPE"]
    assert table.splitlines()[1].split()[:2] == [second, "held"]
    assert (await queue_json(running, "release", second))["state"] == "queued"
    assert (await queue_json(running, "cancel", third))["state"] == "cancelled"

    counts = (await queue_json(running, "stats"))["counts"]
    assert (counts["queued"], counts["cancelled"]) == (2, 1)
    assert "queued         2" in await queue(running, "stats")

    assert "The message is cancelled" in await queue(running, "retry", third, code=65)
    assert "no message with this id is kept" in await queue(running, "show", "0199", code=65)
    assert await queue_json(running, "retry", "--dead") == {"requeued": 0}

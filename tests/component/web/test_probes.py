"""Liveness, readiness and health."""

import json

import pytest

from service.engine.content import Text
from service.engine.protocol import Hello
from service.queue.model import NewMessage
from service.reconnect.status import State
from tests.component.web.conftest import Beacon
from tests.component.web.scripted import BACKING_OFF, CONNECTED, PAIRING, QR_TEXT, STARTING

HELLO = Hello(protocol=1, pid=7, neonize="0.5.2", whatsmeow="v0.0.0")
PROBES = ("/livez", "/readyz", "/healthz")


@pytest.mark.parametrize("path", PROBES)
async def test_no_way_to_whatsapp_fails_no_probe(beacon: Beacon, path: str) -> None:
    beacon.connection.become(BACKING_OFF)

    response = await beacon.client.get(path)

    assert response.status == 200
    assert response.content_type == "application/health+json"


@pytest.mark.parametrize("path", PROBES)
async def test_head_answers_as_get_does(beacon: Beacon, path: str) -> None:
    assert (await beacon.client.head(path)).status == 200
    beacon.facts.heartbeat_age_s = 1e6
    beacon.facts.store_trouble = "The disk is full."
    assert (await beacon.client.head(path)).status == 503


async def test_a_dispatcher_that_stands_still_fails_liveness_and_health(beacon: Beacon) -> None:
    beacon.facts.heartbeat_age_s = 500

    for path, status in (("/livez", 503), ("/healthz", 503), ("/readyz", 200)):
        response = await beacon.client.get(path)
        assert response.status == status
    assert "500 s" in (await (await beacon.client.get("/livez")).json())["output"]


async def test_a_dispatcher_that_has_not_started_does_not_fail_liveness(beacon: Beacon) -> None:
    beacon.facts.heartbeat_age_s = None
    assert (await beacon.client.get("/livez")).status == 200


async def test_a_store_that_cannot_keep_fails_readiness_and_not_liveness(beacon: Beacon) -> None:
    beacon.facts.store_trouble = "The disk is full."

    assert (await beacon.client.get("/livez")).status == 200
    ready = await beacon.client.get("/readyz")
    assert (ready.status, await ready.json()) == (503, {"status": "fail", "output": "The disk is full."})


async def test_readiness_ends_with_the_wish_to_stop(beacon: Beacon) -> None:
    beacon.health.shutting_down = True

    assert (await beacon.client.get("/readyz")).status == 503
    assert (await beacon.client.get("/livez")).status == 200


async def test_health_says_what_is_wrong_with_the_connection_and_what_to_do(beacon: Beacon) -> None:
    beacon.connection.become(BACKING_OFF)

    report = await (await beacon.client.get("/healthz")).json()

    (check,) = report["checks"]["whatsapp:connection"]
    assert report["status"] == check["status"] == "warn"
    assert check["observedValue"] == "backing_off"
    assert check["reason"] == "network_unreachable"
    assert check["sentence"] == check["output"] == BACKING_OFF.sentence
    assert check["advice"] == "check_network"
    assert "WHATSAPP_PROXY" in check["adviceSentence"]


async def test_health_passes_when_all_is_well(beacon: Beacon) -> None:
    beacon.connection.become(CONNECTED)
    beacon.facts.engine = HELLO
    await beacon.outbox.enqueue([NewMessage(chat="4915123456789@s.whatsapp.net", content=Text(text="x"))])
    beacon.clock.advance(30)

    report = await (await beacon.client.get("/healthz")).json()

    assert report["status"] == "pass"
    observed = {name: check[0].get("observedValue") for name, check in report["checks"].items()}
    assert observed["engine"] == "neonize 0.5.2"
    assert (observed["queue:depth"], observed["queue:oldest"], observed["uptime"]) == (1, 30.0, 30.0)


@pytest.mark.parametrize("state", [state for state in State if state is not State.CONNECTED])
async def test_every_state_but_connected_is_a_warning_and_none_a_failure(
    beacon: Beacon, state: State
) -> None:
    beacon.facts.engine = HELLO
    beacon.connection.become(
        type(STARTING)(state=state, reason="r", sentence="s", advice=STARTING.advice, since=STARTING.since)
    )

    response = await beacon.client.get("/healthz")
    assert (response.status, (await response.json())["status"]) == (200, "warn")


async def test_health_is_open_and_therefore_shows_no_key_to_the_account(guarded: Beacon) -> None:
    guarded.connection.become(PAIRING)

    text = await (await guarded.client.get("/healthz")).text()

    assert QR_TEXT not in text
    assert "pair_code" not in json.loads(text)["checks"]["whatsapp:connection"][0]


async def test_notes_for_the_operator_are_shown(beacon: Beacon) -> None:
    beacon.health.notes = ("DATABASE_URL is set but not used by this version.",)

    report = await (await beacon.client.get("/healthz")).json()
    assert report["notes"] == ["DATABASE_URL is set but not used by this version."]

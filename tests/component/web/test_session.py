"""The connection's state, its QR code, pairing by code, a fresh start."""

from dataclasses import replace
from typing import Any

import pytest

from service.errors import EngineGone, EngineRefused, EngineTimeout, StoreUnavailable
from service.web import qr
from tests.component.web.conftest import Beacon
from tests.component.web.scripted import BACKING_OFF, CONNECTED, PAIRING, QR_TEXT


async def session(beacon: Beacon) -> dict[str, Any]:
    response = await beacon.client.get("/api/v1/session")
    assert response.status == 200
    answer: dict[str, Any] = await response.json()
    return answer


async def test_the_session_says_state_reason_and_what_to_do(beacon: Beacon) -> None:
    beacon.connection.become(BACKING_OFF)

    assert await session(beacon) == {
        "state": "backing_off",
        "title": "Waiting to try again",
        "tone": "wait",
        "reason": "network_unreachable",
        "sentence": "WhatsApp cannot be reached from this machine.",
        "advice": "check_network",
        "advice_sentence": "Check this machine's network, and WHATSAPP_PROXY if it is set.",
        "since": "2023-11-14T22:13:20.000Z",
        "attempt": 4,
        "next_attempt_at": "2023-11-14T22:13:32.000Z",
        "pair_code": None,
        "qr": None,
    }


async def test_the_code_to_scan_comes_as_text_blocks_svg_and_png(beacon: Beacon) -> None:
    beacon.connection.become(PAIRING)

    code = (await session(beacon))["qr"]

    assert code["text"] == QR_TEXT
    assert set(code["terminal"]) == set("█▀▄ \n")
    assert code["svg"].startswith("<svg")
    assert code["png"].startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [
        ("qr.svg", "image/svg+xml", qr.svg(QR_TEXT).encode()),
        ("qr.png", "image/png", qr.png(QR_TEXT)),
        ("qr.txt", "text/plain", f"{qr.terminal(QR_TEXT)}\n".encode()),
    ],
)
async def test_the_code_has_addresses_of_its_own_while_there_is_one(
    beacon: Beacon, path: str, content_type: str, body: bytes
) -> None:
    assert (await beacon.client.get(f"/api/v1/session/{path}")).status == 404

    beacon.connection.become(PAIRING)
    response = await beacon.client.get(f"/api/v1/session/{path}")
    assert (response.status, response.content_type) == (200, content_type)
    assert await response.read() == body
    assert response.headers["Cache-Control"] == "no-store"

    beacon.connection.become(CONNECTED)
    gone = await beacon.client.get(f"/api/v1/session/{path}")
    assert gone.status == 404
    assert "connected" in (await gone.json())["detail"]


async def test_a_phone_number_is_answered_with_a_code_to_type(beacon: Beacon) -> None:
    response = await beacon.client.post("/api/v1/session/pair", json={"phone": "+49 (151) 2345-6789"})

    assert (response.status, await response.json()) == (200, {"code": "ABCD-1234"})
    assert beacon.connection.asked_to_pair == ["4915123456789"]


async def test_a_code_that_was_asked_for_shows_in_the_session(beacon: Beacon) -> None:
    beacon.connection.become(replace(PAIRING, pair_code="ABCD-1234"))
    assert (await session(beacon))["pair_code"] == "ABCD-1234"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "is missing; must be a phone number with country code"),
        ({"phone": 4915123456789}, "4915123456789: must be a phone number"),
        ({"phone": "0151 23456789"}, "'0151 23456789': a phone number begins with its country code"),
        ({"phone": "4915123456789@s.whatsapp.net"}, "must be a phone number with country code"),
        ({"phone": "+49 151 23456789", "name": "Ann"}, "is not a field; allowed are phone"),
    ],
    ids=["missing", "a number", "no country", "a JID", "unknown field"],
)
async def test_a_wrong_phone_number_never_reaches_whatsapp(
    beacon: Beacon, body: dict[str, object], says: str
) -> None:
    response = await beacon.client.post("/api/v1/session/pair", json=body)

    assert response.status == 422
    assert says in (await response.json())["errors"][0]["message"]
    assert beacon.connection.asked_to_pair == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (EngineRefused("the session is connected"), 409),
        (EngineGone("it ended"), 503),
        (EngineTimeout("30 s"), 503),
    ],
    ids=["not pairing", "no engine", "no answer"],
)
async def test_a_code_that_cannot_be_had_is_an_error_that_fits(
    beacon: Beacon, error: EngineRefused | EngineGone | EngineTimeout, status: int
) -> None:
    beacon.connection.pairing_answer = error

    response = await beacon.client.post("/api/v1/session/pair", json={"phone": "+49 151 23456789"})

    assert response.status == status
    assert ("Retry-After" in response.headers) == (status == 503)


async def test_a_restart_is_asked_for_as_json_so_that_no_form_can(beacon: Beacon) -> None:
    assert (await beacon.client.post("/api/v1/session/restart")).status == 415

    response = await beacon.client.post(
        "/api/v1/session/restart", headers={"Content-Type": "application/json"}
    )
    assert (response.status, beacon.connection.restarts) == (202, 1)


@pytest.mark.parametrize("what", ["clear", "logout"])
async def test_what_ends_the_session_is_asked_for_as_json_so_that_no_form_can(
    beacon: Beacon, what: str
) -> None:
    assert (await beacon.client.post(f"/api/v1/session/{what}")).status == 415
    assert beacon.connection.asked == []

    response = await beacon.client.post(f"/api/v1/session/{what}", json={})
    assert (response.status, beacon.connection.asked) == (202, [what])
    assert (await response.json())["state"] == "starting"


async def test_pairing_is_given_up_by_deleting_it(beacon: Beacon) -> None:
    response = await beacon.client.delete("/api/v1/session/pair")

    assert (response.status, beacon.connection.asked) == (202, ["abort_pairing"])


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "clear"), ("POST", "logout"), ("DELETE", "pair")], ids=lambda it: it
)
@pytest.mark.parametrize(
    ("error", "status"),
    [(EngineRefused("the connection is connecting"), 409), (EngineGone("it ended"), 503)],
    ids=["wrong state", "no engine"],
)
async def test_what_cannot_be_done_now_is_an_error_that_fits(
    beacon: Beacon, method: str, path: str, error: EngineRefused | EngineGone, status: int
) -> None:
    beacon.connection.refusal = error

    response = await beacon.client.request(method, f"/api/v1/session/{path}", json={})

    assert (response.status, response.content_type) == (status, "application/problem+json")
    assert ("Retry-After" in response.headers) == (status == 503)


async def test_a_session_that_cannot_be_removed_is_told_apart_from_the_queue(beacon: Beacon) -> None:
    beacon.connection.refusal = StoreUnavailable("the session cannot be removed: read-only")

    response = await beacon.client.post("/api/v1/session/clear", json={})

    assert response.status == 503
    assert "session" in (await response.json())["detail"]

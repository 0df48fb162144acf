"""What a monitoring system hands in becomes messages, once, or is refused with nothing kept."""

from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from service.errors import StoreUnavailable
from service.queue.model import Query, State
from service.web import limits
from tests.component.web.conftest import API_TOKEN, METRICS_TOKEN, Beacon, Start
from tests.notifications import alert, alertmanager, grafana

ALERTS_TOKEN = "alertmanager-0123456789"
ANN, BEN, GROUP = "+1 202 555 0101", "+1 202 555 0102", "120363041234567890@g.us"
RECEIVED = "alerts_received_total"


@pytest.fixture
async def alerted(start: Start) -> Beacon:
    """A Beacon that tells alerts to one person and one group."""
    return await start(alert_chats=f"{ANN}, {GROUP}")


async def told(beacon: Beacon, body: Any, *, status: int = 202, **headers: str) -> Any:
    response = await beacon.client.post("/api/v1/alerts", json=body, headers=headers)
    assert response.status == status, await response.text()
    return await response.json()


async def test_a_notification_becomes_one_message_for_each_chat(alerted: Beacon) -> None:
    answer = await told(alerted, alertmanager(alert(1), alert(2)))

    assert [message["to"] for message in answer["messages"]] == ["12025550101@s.whatsapp.net", GROUP]
    page = await alerted.store.find(Query())
    for message in page.messages:
        assert message.content.text.startswith("*FIRING* WhatsAppDisconnected (critical)")  # type: ignore[union-attr]
        assert message.priority == 9, "before what is not urgent"
    assert alerted.sample(RECEIVED, source="alertmanager", outcome="queued") == 1


async def test_grafana_is_understood(alerted: Beacon) -> None:
    assert len((await told(alerted, grafana()))["messages"]) == 2
    assert alerted.sample(RECEIVED, source="grafana", outcome="queued") == 1


async def test_the_same_notification_again_is_told_once(alerted: Beacon) -> None:
    first = await told(alerted, alertmanager())
    again = await told(alerted, alertmanager())

    assert [message["created"] for message in again["messages"]] == [False, False]
    assert [m["id"] for m in again["messages"]] == [m["id"] for m in first["messages"]]
    assert alerted.kept() == 2
    assert alerted.sample(RECEIVED, source="alertmanager", outcome="duplicate") == 1


async def test_a_reminder_and_the_end_are_told(alerted: Beacon) -> None:
    await told(alerted, alertmanager())
    alerted.clock.advance(4 * 3600)
    await told(alerted, alertmanager())
    await told(alerted, alertmanager(alert(1, "resolved")))
    assert alerted.kept() == 6


async def test_messages_to_a_chat_stay_in_order(alerted: Beacon) -> None:
    await told(alerted, alertmanager())
    await told(alerted, alertmanager(alert(1, "resolved")))
    page = await alerted.store.find(Query(chat=GROUP))
    assert [message.content.text.split()[0] for message in page.messages] == ["*RESOLVED*", "*FIRING*"]  # type: ignore[union-attr]


async def test_one_chat_named_twice_is_told_once(start: Start) -> None:
    beacon = await start(alert_chats=f"{ANN},12025550101@s.whatsapp.net")
    assert len((await told(beacon, alertmanager()))["messages"]) == 1


async def test_without_chats_nobody_is_told_and_the_answer_says_why(beacon: Beacon) -> None:
    answer = await told(beacon, alertmanager(), status=HTTPStatus.CONFLICT)
    assert "ALERT_CHATS is not set" in answer["detail"]
    assert beacon.sample(RECEIVED, source="alertmanager", outcome="no_chats") == 1


async def test_while_the_store_is_away_the_sender_is_asked_to_come_again(alerted: Beacon) -> None:
    alerted.outbox.error = StoreUnavailable("the database is away")
    response = await alerted.client.post("/api/v1/alerts", json=alertmanager())
    assert response.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert int(response.headers["Retry-After"]) > 0
    assert alerted.sample(RECEIVED, source="alertmanager", outcome="rejected") == 1

    alerted.outbox.error = None
    assert len((await told(alerted, alertmanager()))["messages"]) == 2


async def test_an_own_template_speaks(start: Start, tmp_path: Path) -> None:
    own = tmp_path / "mine.txt"
    own.write_text("{{ firing | length }} {{ status }}")
    beacon = await start(alert_chats=ANN, alert_template=own)
    await told(beacon, alertmanager(alert(1), alert(2)))
    (message,) = (await beacon.store.find(Query(states=frozenset({State.QUEUED})))).messages
    assert message.content.text == "2 firing"  # type: ignore[union-attr]


# --- who may --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "token", "status"),
    [
        ("POST", "/api/v1/alerts", API_TOKEN, 202),
        ("POST", "/api/v1/alerts", ALERTS_TOKEN, 202),
        ("POST", "/api/v1/alerts", METRICS_TOKEN, 401),
        ("POST", "/api/v1/alerts", "wrong-token-0123456", 401),
        ("POST", "/api/v1/alerts", "", 401),
        ("POST", "/api/v1/messages", ALERTS_TOKEN, 401),
        ("GET", "/api/v1/messages", ALERTS_TOKEN, 401),
        ("GET", "/metrics", ALERTS_TOKEN, 401),
    ],
)
async def test_the_token_for_alerts_opens_alerts_alone(
    start: Start, method: str, path: str, token: str, status: int
) -> None:
    beacon = await start(
        api_token=API_TOKEN, metrics_token=METRICS_TOKEN, alerts_token=ALERTS_TOKEN, alert_chats=BEN
    )
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = alertmanager() if method == "POST" else None
    response = await beacon.client.request(method, path, json=body, headers=headers)
    assert response.status == status


# --- what is refused ------------------------------------------------------------------------------------

GOOD = alertmanager()
NO_ALERT = {k: v for k, v in GOOD.items() if k != "alerts"}

WRONG_ALERTS: list[tuple[str, dict[str, Any], str, str]] = [
    ("another status", {"status": "ok"}, "status", "firing or resolved"),
    ("labels that are none", {"labels": "x"}, "labels", "an object"),
    ("a label that is a list", {"labels": {"a": []}}, "labels.a", "must be"),
    ("annotations that are none", {"annotations": 1}, "annotations", "an object"),
    ("a start that is none", {"startsAt": "yesterday"}, "startsAt", "RFC 3339"),
    ("a start without offset", {"startsAt": "2026-11-22T00:10:03"}, "startsAt", "RFC 3339"),
    ("a start that is null", {"startsAt": None}, "startsAt", "RFC 3339"),
    ("an end that is none", {"endsAt": "never"}, "endsAt", "RFC 3339"),
    ("a print that is a number", {"fingerprint": 1}, "fingerprint", "a string"),
]

WRONG: list[tuple[str, Any, str, str]] = [
    ("no version", {k: v for k, v in GOOD.items() if k != "version"}, "version", "4 (Alertmanager)"),
    ("a version to come", {**GOOD, "version": "5"}, "version", "4 (Alertmanager)"),
    ("a version as a number", {**GOOD, "version": 4}, "version", "4 (Alertmanager)"),
    ("no group", {k: v for k, v in GOOD.items() if k != "groupKey"}, "groupKey", "is missing"),
    ("an empty group", {**GOOD, "groupKey": ""}, "groupKey", "not empty"),
    ("a group as a number", {**GOOD, "groupKey": 7}, "groupKey", "a string"),
    ("no status", {k: v for k, v in GOOD.items() if k != "status"}, "status", "firing or resolved"),
    ("another status", {**GOOD, "status": "pending"}, "status", "firing or resolved"),
    ("no receiver", {k: v for k, v in GOOD.items() if k != "receiver"}, "receiver", "is missing"),
    ("no alerts", NO_ALERT, "alerts", "is missing"),
    ("an empty list", {**GOOD, "alerts": []}, "alerts", "an array of 1 to"),
    ("alerts as an object", {**GOOD, "alerts": {}}, "alerts", "an array of 1 to"),
    ("an alert as a string", {**GOOD, "alerts": ["x"]}, "alerts[0]", "must be"),
    ("truncated below 0", {**GOOD, "truncatedAlerts": -1}, "truncatedAlerts", "from 0"),
    ("truncated as a string", {**GOOD, "truncatedAlerts": "1"}, "truncatedAlerts", "from 0"),
    ("labels as a list", {**GOOD, "groupLabels": []}, "groupLabels", "an object"),
    ("a label as a number", {**GOOD, "commonLabels": {"a": 1}}, "commonLabels.a", "must be"),
    ("an annotation as null", {**GOOD, "commonAnnotations": {"a": None}}, "commonAnnotations.a", "must be"),
    ("a URL as a number", {**GOOD, "externalURL": 1}, "externalURL", "a string"),
    *(
        (f"an alert with {name}", alertmanager({**alert(1), **fields}), f"alerts[0].{path}", sentence)
        for name, fields, path, sentence in WRONG_ALERTS
    ),
]


@pytest.mark.parametrize(("body", "field", "sentence"), [row[1:] for row in WRONG], ids=[r[0] for r in WRONG])
async def test_a_body_of_a_wrong_kind_is_refused_with_the_fields_name(
    alerted: Beacon, body: Any, field: str, sentence: str
) -> None:
    answer = await told(alerted, body, status=HTTPStatus.UNPROCESSABLE_ENTITY)

    errors = {error["field"]: error["message"] for error in answer["errors"]}
    assert sentence in errors[field]
    assert alerted.kept() == 0
    invalid = [alerted.sample(RECEIVED, source=s, outcome="invalid") for s in ("alertmanager", "unknown")]
    assert sum(value or 0 for value in invalid) == 1


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b" " * (limits.BODY_BYTES + 1), "application/json", 413),
    ],
    ids=["cut", "array", "not UTF-8", "not JSON", "too large"],
)
async def test_what_is_no_object_is_refused(
    alerted: Beacon, data: bytes, content_type: str, status: int
) -> None:
    response = await alerted.client.post(
        "/api/v1/alerts", data=BytesIO(data), headers={"Content-Type": content_type}
    )
    assert response.status == status
    assert alerted.sample(RECEIVED, source="unknown", outcome="invalid") == 1

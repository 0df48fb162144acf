"""Handing in messages and asking for them."""

import gzip
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.clock import rfc3339
from service.engine.content import AnyContent, Contact, Location, MessageRef, Poll, Reaction, Text
from service.errors import StoreFull, StoreUnavailable
from service.queue.model import OnUnknown
from service.web.limits import BATCH_MESSAGES, BODY_BYTES
from tests.component.web.conftest import Beacon
from tests.unit.queue.messages import text_of

ANN = "+49 151 23456789"
ANN_JID = "4915123456789@s.whatsapp.net"
BEN = "+1 415 555 2671"
JSON = {"Content-Type": "application/json"}


async def test_a_message_is_kept_before_it_is_accepted_and_its_answer_says_where_to_ask(
    beacon: Beacon,
) -> None:
    response = await beacon.client.post("/api/v1/messages", json={"to": ANN, "text": "Hello, Ann"})

    answer = await response.json()
    assert response.status == 202
    assert response.headers["Location"] == f"/api/v1/messages/{answer['id']}"
    assert answer["to"] == ANN_JID
    assert answer["state"] == "queued"
    assert answer["created"] is True
    kept = await beacon.store.get(answer["id"])
    assert kept is not None
    assert text_of(kept) == "Hello, Ann"


async def test_every_field_reaches_the_queue(beacon: Beacon) -> None:
    now = beacon.clock.now()
    answer = await beacon.post(
        to=ANN,
        text="later",
        priority=9,
        not_before=now + 60,
        expires_at=rfc3339(now + 120),
        max_attempts=3,
        on_unknown="hold",
        idempotency_key="order-1",
    )

    kept = await beacon.store.get(answer["id"])
    assert kept is not None
    assert (kept.priority, kept.max_attempts, kept.on_unknown) == (9, 3, OnUnknown.HOLD)
    assert (kept.due_at, kept.expires_at) == (now + 60, now + 120)
    assert kept.idempotency_key == "order-1"


KINDS: dict[str, tuple[dict[str, object], AnyContent]] = {
    "text": ({"text": "hello"}, Text(text="hello")),
    "reply": (
        {"type": "text", "text": "yes", "reply_to": {"id": "3EB0AA", "sender": BEN, "text": "Lunch?"}},
        Text(
            text="yes",
            reply_to=MessageRef(id="3EB0AA", sender="14155552671@s.whatsapp.net", text="Lunch?"),
        ),
    ),
    "location": (
        {"type": "location", "latitude": 52, "longitude": 13.4, "name": "Here"},
        Location(latitude=52, longitude=13.4, name="Here"),
    ),
    "contact": ({"type": "contact", "name": "Ben", "phone": BEN}, Contact(name="Ben", phone="14155552671")),
    "poll": (
        {"type": "poll", "question": "Lunch?", "options": ["yes", "no"], "choices": 0},
        Poll(question="Lunch?", options=("yes", "no"), choices=0),
    ),
    "reaction": (
        {"type": "reaction", "message": {"id": "3EB0AA"}, "emoji": "👍"},
        Reaction(to=MessageRef(id="3EB0AA"), emoji="👍"),
    ),
}


@pytest.mark.parametrize(("given", "content"), KINDS.values(), ids=KINDS)
async def test_every_kind_reaches_the_queue(
    beacon: Beacon, given: dict[str, object], content: AnyContent
) -> None:
    answer = await beacon.post(to=ANN, **given)

    kept = await beacon.store.get(answer["id"])
    assert kept is not None
    assert kept.content == content
    assert answer["type"] == given.get("type", "text")


async def test_a_time_to_live_counts_from_acceptance(beacon: Beacon) -> None:
    answer = await beacon.post(to=ANN, text="soon", ttl_s=90)

    assert answer["expires_at"] == rfc3339(beacon.clock.now() + 90)


async def test_a_message_that_may_go_out_tomorrow_does_not_expire_before(beacon: Beacon) -> None:
    tomorrow = beacon.clock.now() + 86_400 * 1.5

    answer = await beacon.post(to=ANN, text="tomorrow", not_before=tomorrow)

    assert answer["due_at"] == rfc3339(tomorrow)
    assert answer["expires_at"] > answer["due_at"]


async def test_asking_for_a_message_tells_its_state_and_not_its_text(beacon: Beacon) -> None:
    accepted = await beacon.post(to=ANN, text="a secret")
    (claim,) = await beacon.store.claim(worker="test", now=beacon.clock.now())
    beacon.clock.advance(2)
    await beacon.store.complete(claim, whatsapp_id="3EB0AA", now=beacon.clock.now())

    response = await beacon.client.get(f"/api/v1/messages/{accepted['id']}")

    assert response.status == 200
    assert "a secret" not in await response.text()
    answer = await response.json()
    assert (answer["state"], answer["attempts"], answer["whatsapp_id"]) == ("sent", 1, "3EB0AA")
    assert answer["sent_at"] == rfc3339(beacon.clock.now())
    assert set(answer) == set(accepted) - {"created"}


@pytest.mark.parametrize("message_id", ["0199", "%00", "%ED%A0%80", "a" * 2000, "..%2F.."])
async def test_an_id_that_is_not_kept_is_404(beacon: Beacon, message_id: str) -> None:
    response = await beacon.client.get(f"/api/v1/messages/{message_id}")

    assert response.status == 404
    assert (await response.json())["type"] == "urn:problem-type:beacon:not-found"


async def test_a_batch_is_kept_in_the_order_given(beacon: Beacon) -> None:
    batch = [{"to": ANN, "text": "1"}, {"to": BEN, "text": "2"}, {"to": ANN, "text": "3"}]

    response = await beacon.client.post("/api/v1/messages", json={"messages": batch})

    answers = (await response.json())["messages"]
    assert response.status == 202
    kept = [await beacon.store.get(answer["id"]) for answer in answers]
    assert [text_of(message) for message in kept if message] == ["1", "2", "3"]
    assert [message.seq for message in kept if message] == sorted(m.seq for m in kept if m)


async def test_a_batch_may_be_as_large_as_promised(beacon: Beacon) -> None:
    batch = [{"to": ANN, "text": str(number)} for number in range(BATCH_MESSAGES)]

    response = await beacon.client.post("/api/v1/messages", json={"messages": batch})

    assert response.status == 202
    assert beacon.kept() == BATCH_MESSAGES


async def test_nothing_of_a_batch_is_kept_when_anything_in_it_is_wrong(beacon: Beacon) -> None:
    batch = [{"to": ANN, "text": "1"}, {"to": "12", "text": ""}, {"to": ANN, "text": "3", "colour": "red"}]

    response = await beacon.client.post("/api/v1/messages", json={"messages": batch})

    answer = await response.json()
    assert response.status == 422
    assert [error["field"] for error in answer["errors"]] == ["messages[1].to", "messages[2].colour"]
    assert beacon.kept() == 0


@pytest.mark.parametrize("key", ["order-7", '"order-7"'], ids=["plain", "quoted as in the IETF draft"])
async def test_the_same_idempotency_key_gives_the_first_message_again(beacon: Beacon, key: str) -> None:
    first, again = [
        await beacon.client.post(
            "/api/v1/messages", json={"to": ANN, "text": "once"}, headers={"Idempotency-Key": key}
        )
        for _ in range(2)
    ]

    one, two = await first.json(), await again.json()
    assert (first.status, again.status) == (202, 202)
    assert one["id"] == two["id"]
    assert (one["created"], two["created"]) == (True, False)
    assert one["idempotency_key"] == "order-7"
    assert beacon.kept() == 1


FINE = {"to": ANN, "text": "hello"}


def fine(**changed: object) -> dict[str, object]:
    """A good message with something changed."""
    return {**FINE, **changed}


WRONG_FIELDS: dict[str, tuple[object, str, str]] = {
    # body, field of the first error, what its message says
    "no receiver": ({"text": "x"}, "to", "is missing; must be a phone number"),
    "receiver is a number": (fine(to=4915123456789), "to", "4915123456789: must be a phone number"),
    "receiver is null": (fine(to=None), "to", "null: must be a phone number"),
    "receiver is empty": (fine(to=""), "to", "'': must be a phone number"),
    "receiver is too short": (fine(to="+49 1"), "to", "'+49 1': these 3 digits"),
    "receiver has letters": (fine(to="+49 CALL ME"), "to", "'+49 CALL ME': a phone number has digits"),
    "receiver lacks its country": (fine(to="0151 23456789"), "to", "not with 0"),
    "receiver is of a foreign server": (fine(to="a@example.org"), "to", "a JID ends with"),
    "receiver is a device": (fine(to="4915123456789:3@s.whatsapp.net"), "to", "not a device"),
    "receiver is very long": (fine(to="1" * 5000), "to", "must be a phone number"),
    "no text": ({"to": ANN}, "text", "is missing; must be text"),
    "text is empty": (fine(text=""), "text", "at least one character that is not space"),
    "text is blank": (fine(text=" \n\t"), "text", "at least one character that is not space"),
    "text is a number": (fine(text=7), "text", "7: must be text"),
    "text is half a character": (fine(text="\ud800"), "text", "half of a surrogate pair"),
    "text holds NUL": (fine(text="a\0b"), "text", "NUL"),
    "priority above": (fine(priority=10), "priority", "10: must be a whole number from 0 to 9"),
    "priority below": (fine(priority=-1), "priority", "-1: must be a whole number from 0 to 9"),
    "priority is a string": (fine(priority="5"), "priority", "'5': must be a whole number from 0 to 9"),
    "priority is a boolean": (fine(priority=True), "priority", "true: must be a whole number"),
    "priority is a fraction": (fine(priority=1.5), "priority", "1.5: must be a whole number"),
    "priority is huge": (fine(priority=10**40), "priority", "must be a whole number from 0 to 9"),
    "not_before without zone": (fine(not_before="2026-11-21T18:00:00"), "not_before", "with offset"),
    "not_before is a word": (fine(not_before="tomorrow"), "not_before", "'tomorrow': must be a time"),
    "not_before in milliseconds": (fine(not_before=1.8e12), "not_before", "at most 366 days"),
    "not_before without end": (fine(not_before=1e308), "not_before", "at most 366 days"),
    "expires_at is over": (fine(expires_at=1_600_000_000), "expires_at", "must be later than"),
    "expires_at before not_before": (
        fine(not_before=1_700_000_100, expires_at=1_700_000_050),
        "expires_at",
        "must be later than",
    ),
    "expires_at before the epoch": (fine(expires_at=-5), "expires_at", "at most 366 days"),
    "ttl_s is zero": (fine(ttl_s=0), "ttl_s", "0: must be seconds"),
    "ttl_s is a string": (fine(ttl_s="60"), "ttl_s", "'60': must be seconds"),
    "ttl_s and expires_at": (fine(ttl_s=5, expires_at=1_700_000_500), "ttl_s", "together with expires_at"),
    "ttl_s ends before not_before": (fine(ttl_s=5, not_before=1_700_000_050), "ttl_s", "must be later than"),
    "max_attempts is zero": (fine(max_attempts=0), "max_attempts", "0: must be a whole number from 1 to 100"),
    "on_unknown is a guess": (fine(on_unknown="retry"), "on_unknown", "'retry': must be resend or hold"),
    "idempotency_key is empty": (fine(idempotency_key=""), "idempotency_key", "1 to 200 printable"),
    "idempotency_key is long": (fine(idempotency_key="k" * 201), "idempotency_key", "1 to 200 printable"),
    "idempotency_key has a space": (fine(idempotency_key="a b"), "idempotency_key", "without space"),
    "unknown field": (fine(txt="x"), "txt", "is not a field; allowed are to, priority, "),
    "unknown field with a line break": (fine(**{"a\nb": 1}), "'a\\nb'", "is not a field"),
    "batch is empty": ({"messages": []}, "messages", "holds 0: must be an array of 1 to 1000"),
    "batch is too long": ({"messages": [FINE] * 1001}, "messages", "holds 1001: must be an array"),
    "batch is an object": ({"messages": FINE}, "messages", "must be an array of 1 to 1000 messages"),
    "batch with a field beside it": ({"messages": [FINE], "to": ANN}, "to", "is not a field"),
    "type that there is not": (fine(type="fax"), "type", "'fax': must be one of text, image, video"),
    "type is a list": (fine(type=["text"]), "type", "['text']: must be one of"),
    "type is null": (fine(type=None), "type", "null: must be one of"),
    "text with a caption": (fine(caption="x"), "caption", "is not a field; allowed are"),
    "reply to nothing": (fine(reply_to={}), "reply_to.id", "is missing; must be a WhatsApp message id"),
    "reply to a string": (fine(reply_to="3EB0"), "reply_to", "'3EB0': must be the message that"),
    "reply to what is no id": (fine(reply_to={"id": "a b"}), "reply_to.id", "WhatsApp message id"),
    "reply to a group": (
        fine(reply_to={"id": "3EB0", "sender": "120363012345678901@g.us"}),
        "reply_to.sender",
        "not a group's",
    ),
    "reply with an unknown field": (
        fine(reply_to={"id": "3EB0", "who": 1}),
        "reply_to.who",
        "is not a field; allowed are id, sender, text",
    ),
    "image of nothing": ({"to": ANN, "type": "image"}, "url", "or the file be sent as multipart/form-data"),
    "image by a path": ({"to": ANN, "type": "image", "url": "/a.jpg"}, "url", "must begin with http"),
    "image by a number": ({"to": ANN, "type": "image", "url": 1}, "url", "1: must be an http or https URL"),
    "image with text": ({"to": ANN, "type": "image", "text": "x"}, "text", "is not a field"),
    "caption too long": (
        {"to": ANN, "type": "image", "url": "http://a.example/", "caption": "c" * 1025},
        "caption",
        "has 1025 characters: at most 1024",
    ),
    "voice is a word": (
        {"to": ANN, "type": "audio", "voice": "yes"},
        "voice",
        "'yes': must be true or false",
    ),
    "document in a folder": (
        {"to": ANN, "type": "document", "url": "http://a.example/", "name": "../x"},
        "name",
        "without folders",
    ),
    "location without place": ({"to": ANN, "type": "location"}, "latitude", "is missing; must be degrees"),
    "location beyond the pole": (
        {"to": ANN, "type": "location", "latitude": 91, "longitude": 0},
        "latitude",
        "degrees from -90 to 90",
    ),
    "location in words": (
        {"to": ANN, "type": "location", "latitude": "north", "longitude": 0},
        "latitude",
        "'north': must be degrees",
    ),
    "contact without number": ({"to": ANN, "type": "contact", "name": "Ben"}, "phone", "is missing"),
    "contact with half a number": (
        {"to": ANN, "type": "contact", "name": "Ben", "phone": "+49 1"},
        "phone",
        "these 3 digits",
    ),
    "contact of two lines": (
        {"to": ANN, "type": "contact", "name": "Ben\nTEL:1", "phone": BEN},
        "name",
        "one line",
    ),
    "poll with one option": (
        {"to": ANN, "type": "poll", "question": "?", "options": ["yes"]},
        "options",
        "holds 1: must be 2 to 12",
    ),
    "poll with an option twice": (
        {"to": ANN, "type": "poll", "question": "?", "options": ["yes", "yes"]},
        "options[1]",
        "twice",
    ),
    "poll with a number": (
        {"to": ANN, "type": "poll", "question": "?", "options": ["yes", 2]},
        "options[1]",
        "2: must be an array of 2 to 12",
    ),
    "poll with too many choices": (
        {"to": ANN, "type": "poll", "question": "?", "options": ["yes", "no"], "choices": 3},
        "choices",
        "3: must be 0",
    ),
    "poll as a reply": (
        {"to": ANN, "type": "poll", "question": "?", "options": ["yes", "no"], "reply_to": {"id": "3EB0"}},
        "reply_to",
        "is not a field",
    ),
    "reaction to nothing": ({"to": ANN, "type": "reaction", "emoji": "👍"}, "message", "is missing"),
    "reaction with a word": (
        {"to": ANN, "type": "reaction", "emoji": "ok", "message": {"id": "3EB0"}},
        "emoji",
        "must be one emoji",
    ),
    "batch with a wrong reply": (
        {"messages": [FINE, fine(reply_to={"id": ""})]},
        "messages[1].reply_to.id",
        "'': must be a WhatsApp message id",
    ),
    "batch of strings": ({"messages": ["hello"]}, "messages[0]", "'hello': must be an object"),
}


@pytest.mark.parametrize(("body", "field", "says"), WRONG_FIELDS.values(), ids=WRONG_FIELDS.keys())
async def test_a_wrong_field_is_named_with_its_value_and_what_is_allowed(
    beacon: Beacon, body: object, field: str, says: str
) -> None:
    response = await beacon.client.post("/api/v1/messages", data=json.dumps(body), headers=JSON)

    answer = await response.json()
    assert response.status == 422, answer
    assert response.content_type == "application/problem+json"
    assert answer["status"] == 422
    assert answer["errors"][0]["field"] == field
    assert says in answer["errors"][0]["message"]
    assert len(answer["errors"][0]["message"]) < 200
    assert beacon.kept() == 0


WRONG_BODIES: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    # body, headers, status, what the detail says
    "empty": (b"", JSON, 400, "must be JSON"),
    "cut off": (b'{"to": "', JSON, 400, "line 1, column 8"),
    "an array": (b'[{"to": "1", "text": "x"}]', JSON, 400, "a JSON object, not an array"),
    "a string": (b'"hello"', JSON, 400, "a JSON object, not a string"),
    "null": (b"null", JSON, 400, "a JSON object, not null"),
    "a key twice": (b'{"to": "1", "to": "2"}', JSON, 400, 'the key "to" appears twice'),
    "NaN": (b'{"ttl_s": NaN}', JSON, 400, "NaN is not a JSON number"),
    "infinity": (b'{"ttl_s": -Infinity}', JSON, 400, "-Infinity is not a JSON number"),
    "too many digits": (b'{"ttl_s": ' + b"9" * 5000 + b"}", JSON, 400, "must be JSON"),
    "nested without end": (b'{"a":' * 50_000, JSON, 400, "nested"),
    "Latin-1": ('{"text": "Grüße"}'.encode("latin-1"), JSON, 400, "must be UTF-8; byte 12"),
    "UTF-16": ('{"text": "x"}'.encode("utf-16"), JSON, 400, "must be UTF-8; byte 0"),
    "not what Content-Encoding says": (b"{}", {**JSON, "Content-Encoding": "gzip"}, 400, ""),
    "no content type": (b"{}", {"Content-Type": ""}, 415, "must be application/json"),
    "a form": (b"to=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "application/json"),
    "plain text": (b"{}", {"Content-Type": "text/plain"}, 415, "must be application/json"),
    "another charset": (b"{}", {"Content-Type": "application/json; charset=latin-1"}, 415, "in UTF-8"),
    "a text over 64 KiB": (
        json.dumps(fine(text="é" * 32_769)).encode(),
        JSON,
        413,
        "text: is 65538 bytes of UTF-8, at most 65536 are allowed",
    ),
    "a body over the bound": (b" " * (BODY_BYTES + 1), JSON, 413, f"must not be over {BODY_BYTES} bytes"),
    "a small body that unpacks to a large one": (
        gzip.compress(b" " * (BODY_BYTES + 1)),
        {**JSON, "Content-Encoding": "gzip"},
        413,
        f"must not be over {BODY_BYTES} bytes",
    ),
}


@pytest.mark.parametrize(
    ("body", "headers", "status", "says"), WRONG_BODIES.values(), ids=WRONG_BODIES.keys()
)
async def test_a_body_that_cannot_be_read_is_refused_with_the_reason(
    beacon: Beacon, body: bytes, headers: dict[str, str], status: int, says: str
) -> None:
    response = await beacon.client.post("/api/v1/messages", data=io.BytesIO(body), headers=headers)

    answer = await response.json(content_type=None)
    assert response.status == status, answer
    assert response.content_type == "application/problem+json"
    assert says in answer["detail"]
    assert beacon.kept() == 0


async def test_a_body_that_does_not_say_its_size_is_cut_off_at_the_bound(beacon: Beacon) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(BODY_BYTES // 65_536 + 1):
            yield b" " * 65_536

    response = await beacon.client.post("/api/v1/messages", data=endless(), headers=JSON)

    assert response.status == 413


async def test_a_text_of_64_kib_is_accepted(beacon: Beacon) -> None:
    await beacon.post(to=ANN, text="é" * 32_768)


async def test_a_packed_body_is_accepted(beacon: Beacon) -> None:
    response = await beacon.client.post(
        "/api/v1/messages",
        data=gzip.compress(json.dumps(FINE).encode()),
        headers={**JSON, "Content-Encoding": "gzip"},
    )
    assert response.status == 202


WRONG_KEYS: dict[str, tuple[dict[str, Any], str, str]] = {
    "for a batch": ({"messages": [FINE]}, "k", "give each message its own idempotency_key"),
    "other than in the body": (fine(idempotency_key="a"), "b", "must be the same as the header"),
    "empty": (FINE, " ", "1 to 200 printable"),
}


@pytest.mark.parametrize(("body", "key", "says"), WRONG_KEYS.values(), ids=WRONG_KEYS.keys())
async def test_a_wrong_idempotency_header_is_refused(
    beacon: Beacon, body: dict[str, Any], key: str, says: str
) -> None:
    response = await beacon.client.post("/api/v1/messages", json=body, headers={"Idempotency-Key": key})

    assert response.status == 422
    assert says in (await response.json())["detail"]
    assert beacon.kept() == 0


async def test_a_long_list_of_faults_is_cut(beacon: Beacon) -> None:
    response = await beacon.client.post("/api/v1/messages", json={"messages": [{}] * 500})

    answer = await response.json()
    assert len(answer["errors"]) == 20
    assert "999 more" in answer["detail"]


async def test_a_store_that_cannot_be_reached_is_503_and_says_when_to_come_back(beacon: Beacon) -> None:
    beacon.outbox.error = StoreUnavailable("locked")

    response = await beacon.client.post("/api/v1/messages", json=FINE)

    assert response.status == 503
    assert int(response.headers["Retry-After"]) > 0
    assert (await response.json())["type"] == "urn:problem-type:beacon:store-unavailable"


async def test_a_full_disk_is_507(beacon: Beacon) -> None:
    beacon.outbox.error = StoreFull("no space left")

    response = await beacon.client.post("/api/v1/messages", json=FINE)

    assert response.status == 507
    assert "nothing of this request was kept" in (await response.json())["detail"]


async def test_what_nobody_expected_is_a_500_that_tells_nothing(
    beacon: Beacon, caplog: pytest.LogCaptureFixture
) -> None:
    beacon.outbox.error = RuntimeError("the secret is 42")

    response = await beacon.client.post("/api/v1/messages", json=FINE)

    assert response.status == 500
    assert "42" not in await response.text()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("PUT", "/api/v1/messages", 405), ("GET", "/api/v2/messages", 404), ("PROPFIND", "/", 405)],
)
async def test_a_route_or_method_that_is_not_there_is_a_problem_too(
    beacon: Beacon, method: str, path: str, status: int
) -> None:
    response = await beacon.client.request(method, path)

    assert response.status == status
    assert (await response.json(content_type="application/problem+json"))["status"] == status
    assert ("Allow" in response.headers) == (status == 405)

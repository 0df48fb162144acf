"""Listing messages, and what a person may still do about one."""

from typing import Any

import pytest

from service.errors import StoreUnavailable
from service.queue.model import SendResult, State
from tests.component.web.conftest import Beacon
from tests.people import ANN, BEN

MESSAGES = "/api/v1/messages"


async def ask(beacon: Beacon, method: str, path: str, status: int = 200) -> Any:
    """The JSON of an answer that must have this status."""
    response = await beacon.client.request(method, MESSAGES + path)
    answer = await response.json(content_type=None)
    assert response.status == status, answer
    return answer


async def listed(beacon: Beacon, query: str) -> list[str]:
    """The ids on one page."""
    return [message["id"] for message in (await ask(beacon, "GET", query))["messages"]]


async def post(beacon: Beacon, to: str = ANN, **more: object) -> str:
    """The id of a message just handed in."""
    return str((await beacon.post(to=f"+{to}", text="hello", **more))["id"])


async def sending(beacon: Beacon) -> None:
    """The next message is with WhatsApp."""
    assert await beacon.store.claim(worker="test", now=beacon.clock.now())


async def dead(beacon: Beacon, to: str = ANN) -> str:
    """The id of a message that was given up."""
    message_id = await post(beacon, to)
    (claim,) = await beacon.store.claim(worker="test", now=beacon.clock.now())
    await beacon.store.fail(
        claim, result=SendResult.PERMANENT, error="refused", retry_at=None, now=beacon.clock.now()
    )
    return message_id


async def test_messages_are_listed_the_latest_first_page_after_page(beacon: Beacon) -> None:
    posted = [await post(beacon) for _ in range(7)]

    seen: list[str] = []
    query = "?limit=3"
    for size in (3, 3, 1):
        page = await ask(beacon, "GET", query)
        assert len(page["messages"]) == size
        seen += [message["id"] for message in page["messages"]]
        query = f"?limit=3&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert seen == posted[::-1]


async def test_a_list_may_be_of_some_states_and_of_one_chat(beacon: Beacon) -> None:
    given_up = await dead(beacon)
    ann, ben = await post(beacon, ANN), await post(beacon, BEN)
    await ask(beacon, "POST", f"/{ben}/hold")

    assert await listed(beacon, "?state=dead") == [given_up]
    assert await listed(beacon, "?state=dead,held") == [ben, given_up]
    assert await listed(beacon, "?state=dead&state=queued") == [ann, given_up]
    assert await listed(beacon, f"?chat=%2B{ANN}") == [ann, given_up]
    assert await listed(beacon, f"?chat={ANN}@s.whatsapp.net&state=queued") == [ann]
    assert await listed(beacon, f"?chat={BEN}&state=read") == []


async def test_what_comes_in_between_does_not_move_a_page(beacon: Beacon) -> None:
    posted = [await post(beacon) for _ in range(4)]
    first = await ask(beacon, "GET", "?limit=2")
    await post(beacon)

    assert await listed(beacon, f"?limit=2&cursor={first['next_cursor']}") == [posted[1], posted[0]]


WRONG_QUERIES = {
    "state that there is not": ("?state=lost", "state", "'lost': must be of queued, sending"),
    "empty state": ("?state=", "state", "'': must be of queued"),
    "chat that is none": ("?chat=12", "chat", "'12': these 2 digits"),
    "chat twice": (f"?chat={ANN}&chat={BEN}", "chat", "must be given once"),
    "limit of zero": ("?limit=0", "limit", "'0': must be a whole number from 1 to 1000"),
    "limit above": ("?limit=1001", "limit", "'1001': must be"),
    "limit in words": ("?limit=all", "limit", "'all': must be"),
    "limit in other digits": ("?limit=٣", "limit", "must be a whole number"),
    "cursor of nobody": ("?cursor=abc", "cursor", "'abc': must be the next_cursor of a page"),
    "cursor that is not base64": ("?cursor=%F0%9F%91%8D", "cursor", "must be the next_cursor"),
    "cursor beyond": ("?cursor=YmVmb3JlOjk5OTk5OTk5OTk5OTk5OTk5OTk", "cursor", "must be the next_cursor"),
    "parameter that there is not": ("?status=dead", "status", "is not a parameter; allowed are state, chat"),
}


@pytest.mark.parametrize(("query", "field", "says"), WRONG_QUERIES.values(), ids=WRONG_QUERIES)
async def test_a_wrong_query_is_named(beacon: Beacon, query: str, field: str, says: str) -> None:
    answer = await ask(beacon, "GET", query, 422)

    assert answer["errors"][0]["field"] == field
    assert says in answer["errors"][0]["message"]


async def test_a_message_that_waits_can_be_taken_back(beacon: Beacon) -> None:
    message_id = await post(beacon)

    assert (await ask(beacon, "DELETE", f"/{message_id}"))["state"] == "cancelled"
    assert (await ask(beacon, "DELETE", f"/{message_id}"))["state"] == "cancelled"
    assert beacon.outbox.counts()[State.CANCELLED] == 1


async def test_a_message_can_be_held_and_released(beacon: Beacon) -> None:
    message_id = await post(beacon)

    assert (await ask(beacon, "POST", f"/{message_id}/hold"))["state"] == "held"
    assert not await beacon.store.claim(worker="test", now=beacon.clock.now())
    assert (await ask(beacon, "POST", f"/{message_id}/release"))["state"] == "queued"
    assert await beacon.store.claim(worker="test", now=beacon.clock.now())


async def test_a_dead_message_can_be_tried_again(beacon: Beacon) -> None:
    message_id = await dead(beacon)

    answer = await ask(beacon, "POST", f"/{message_id}/retry")
    assert (answer["state"], answer["attempts"]) == ("queued", 0)


async def test_all_dead_messages_can_be_tried_again(beacon: Beacon) -> None:
    for to in (ANN, BEN):
        await dead(beacon, to)

    assert await ask(beacon, "POST", "/retry-dead") == {"requeued": 2}
    assert beacon.outbox.counts()[State.QUEUED] == 2
    assert await ask(beacon, "POST", "/retry-dead") == {"requeued": 0}


@pytest.mark.parametrize(
    ("method", "wish"), [("DELETE", ""), ("POST", "/hold"), ("POST", "/release"), ("POST", "/retry")]
)
async def test_a_wish_that_comes_too_late_is_409_with_the_state(
    beacon: Beacon, method: str, wish: str
) -> None:
    message_id = await post(beacon)
    await sending(beacon)

    answer = await ask(beacon, method, f"/{message_id}{wish}", 409)
    assert answer["type"] == "urn:problem-type:beacon:wrong-state"
    assert answer["state"] == "sending"
    assert "The message is sending; it cannot become" in answer["detail"]


async def test_a_dead_message_is_not_released(beacon: Beacon) -> None:
    answer = await ask(beacon, "POST", f"/{await dead(beacon)}/release", 409)
    assert answer["state"] == "dead"


@pytest.mark.parametrize(
    ("method", "wish"), [("DELETE", ""), ("POST", "/hold"), ("POST", "/release"), ("POST", "/retry")]
)
async def test_a_wish_about_a_message_that_is_not_kept_is_404(beacon: Beacon, method: str, wish: str) -> None:
    answer = await ask(beacon, method, f"/0199{wish}", 404)
    assert answer["type"] == "urn:problem-type:beacon:not-found"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/1"),
        ("DELETE", "/1"),
        ("POST", "/1/hold"),
        ("POST", "/1/release"),
        ("POST", "/1/retry"),
        ("POST", "/retry-dead"),
    ],
)
async def test_a_store_that_cannot_be_used_is_503_with_the_reason(
    beacon: Beacon, method: str, path: str
) -> None:
    beacon.outbox.error = StoreUnavailable("the database does not answer")

    response = await beacon.client.request(method, MESSAGES + path)
    assert response.status == 503
    assert int(response.headers["Retry-After"]) > 0
    assert "the database does not answer" in (await response.json())["detail"]

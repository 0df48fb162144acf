"""Who is let in."""

from collections.abc import Callable
from http.cookies import SimpleCookie

import pytest

from service.web.access import COOKIE, COOKIE_LIFE_S
from tests.component.web.conftest import API_TOKEN, METRICS_TOKEN, Beacon, Start

API = f"Bearer {API_TOKEN}"
METRICS = f"Bearer {METRICS_TOKEN}"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}

LET_IN: dict[str, tuple[str, str | None, int]] = {
    # path, Authorization, status
    "liveness without token": ("/livez", None, 200),
    "readiness without token": ("/readyz", None, 200),
    "health without token": ("/healthz", None, 200),
    "the sign-in form without token": ("/", None, 200),
    "the page's files without token": ("/assets/page.css", None, 200),
    "session with the token": ("/api/v1/session", API, 200),
    "session with the scheme in small letters": ("/api/v1/session", f"bearer {API_TOKEN}", 200),
    "session without token": ("/api/v1/session", None, 401),
    "session with a wrong token": ("/api/v1/session", "Bearer correct-horse-batterx", 401),
    "session with half the token": ("/api/v1/session", f"Bearer {API_TOKEN[:-1]}", 401),
    "session with a longer token": ("/api/v1/session", f"{API}y", 401),
    "session with an empty token": ("/api/v1/session", "Bearer ", 401),
    "session with Basic": ("/api/v1/session", "Basic Y29ycmVjdC1ob3JzZQ==", 401),
    "session with the metrics token": ("/api/v1/session", METRICS, 401),
    "session with a token of other letters": ("/api/v1/session", "Bearer pässwörd-pässwörd", 401),
    "metrics with the token": ("/metrics", API, 200),
    "metrics with the metrics token": ("/metrics", METRICS, 200),
    "metrics without token": ("/metrics", None, 401),
    "metrics with a wrong token": ("/metrics", "Bearer nope-nope-nope-nope", 401),
    "the page with the metrics token": ("/", METRICS, 401),
    "the live stream without token": ("/api/v1/events", None, 401),
    "a QR code without token": ("/api/v1/session/qr.png", None, 401),
    "a message without token": ("/api/v1/messages/1", None, 401),
    "a route that is not there, without token": ("/api/v1/nothing", None, 401),
    "a route that is not there, with the token": ("/api/v1/nothing", API, 404),
}


@pytest.mark.parametrize(("path", "authorization", "status"), LET_IN.values(), ids=LET_IN.keys())
async def test_with_a_token_set_only_health_is_open(
    guarded: Beacon, path: str, authorization: str | None, status: int
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    response = await guarded.client.get(path, headers=headers)

    assert response.status == status
    if status == 401:
        assert response.headers["WWW-Authenticate"].startswith('Bearer realm="beacon"')
        assert response.content_type == "application/problem+json"


async def test_without_a_token_everything_is_open_to_this_machine(beacon: Beacon) -> None:
    for path in ("/", "/metrics", "/api/v1/session", "/healthz"):
        assert (await beacon.client.get(path)).status == 200


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:80", "127.9.9.9"])
async def test_without_a_token_loopback_names_are_answered(beacon: Beacon, host: str) -> None:
    assert (await beacon.client.get("/api/v1/session", headers={"Host": host})).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "192.168.1.7", "[::2]", ""]
)
async def test_without_a_token_no_other_name_is_answered_so_that_dns_cannot_be_rebound(
    beacon: Beacon, host: str
) -> None:
    response = await beacon.client.get("/api/v1/session", headers={"Host": host})

    assert response.status == 421
    assert beacon.sample("http_auth_failures_total", reason="foreign_host") == 1


async def test_with_a_token_any_name_is_answered(guarded: Beacon) -> None:
    headers = {"Host": "beacon.example.org", "Authorization": API}
    assert (await guarded.client.get("/api/v1/session", headers=headers)).status == 200


FOREIGN: dict[str, dict[str, str]] = {
    "by Fetch Metadata": {"Sec-Fetch-Site": "cross-site"},
    "by Fetch Metadata, of a neighbour": {"Sec-Fetch-Site": "same-site"},
    "by its origin": {"Origin": "https://evil.example"},
    "by an origin that is hidden": {"Origin": "null"},
    "by an origin on another port": {"Origin": "http://127.0.0.1:1"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("path", ["/api/v1/messages", "/api/v1/session/restart", "/sign-out"])
async def test_a_page_of_another_site_cannot_change_anything(
    beacon: Beacon, path: str, headers: dict[str, str]
) -> None:
    response = await beacon.client.post(path, json={"to": "+4915123456789", "text": "x"}, headers=headers)

    assert response.status == 403
    assert beacon.kept() == 0
    assert beacon.connection.restarts == 0


async def test_a_form_cannot_post_a_message_even_where_browsers_say_nothing(beacon: Beacon) -> None:
    response = await beacon.client.post(
        "/api/v1/messages", data=b'{"to":"+4915123456789","text":"x"}', headers={"Content-Type": "text/plain"}
    )
    assert response.status == 415


async def signed_in(beacon: Beacon) -> str:
    """The cookie's value after signing in."""
    response = await beacon.client.post("/sign-in", data={"token": API_TOKEN}, allow_redirects=False)
    assert response.status == 303
    assert response.headers["Location"] == "/"
    return response.cookies[COOKIE].value


async def test_signing_in_opens_the_page_its_stream_and_metrics(guarded: Beacon) -> None:
    await signed_in(guarded)  # the client keeps the cookie

    assert 'id="state-title"' in await (await guarded.client.get("/")).text()
    assert (await guarded.client.get("/api/v1/session")).status == 200
    assert (await guarded.client.get("/metrics")).status == 200


async def test_the_cookie_is_safe_and_never_holds_the_token(guarded: Beacon) -> None:
    response = await guarded.client.post(
        "/sign-in",
        data={"token": API_TOKEN},
        headers={"X-Forwarded-Proto": "https"},
        allow_redirects=False,
    )

    cookie = SimpleCookie(response.headers["Set-Cookie"])[COOKIE]
    assert (cookie["httponly"], cookie["secure"], cookie["samesite"]) == (True, True, "Strict")
    assert int(cookie["max-age"]) == COOKIE_LIFE_S
    assert API_TOKEN not in response.headers["Set-Cookie"]


async def test_over_plain_http_the_cookie_is_not_marked_secure(guarded: Beacon) -> None:
    response = await guarded.client.post("/sign-in", data={"token": API_TOKEN}, allow_redirects=False)
    assert not SimpleCookie(response.headers["Set-Cookie"])[COOKIE]["secure"]


async def test_a_wrong_token_shows_the_form_again_and_is_counted(guarded: Beacon) -> None:
    response = await guarded.client.post("/sign-in", data={"token": "guess-guess-guess"})

    assert response.status == 401
    assert COOKIE not in response.cookies
    assert "That is not the token" in await response.text()
    assert guarded.sample("http_auth_failures_total", reason="wrong_token") == 1


async def test_a_cookie_ends(guarded: Beacon) -> None:
    await signed_in(guarded)
    guarded.clock.advance(COOKIE_LIFE_S + 1)

    assert (await guarded.client.get("/api/v1/session")).status == 401
    assert guarded.sample("http_auth_failures_total", reason="stale_cookie") == 1


@pytest.mark.parametrize(
    "forge",
    [
        lambda good: "9999999999." + good.partition(".")[2],
        lambda good: good[:-1] + ("0" if good[-1] != "0" else "1"),
        lambda good: good.partition(".")[0],
        lambda _: "",
        lambda _: "x.y",
        lambda _: "²³.ü",
    ],
    ids=["another end", "another proof", "no proof", "empty", "words", "other digits"],
)
async def test_a_forged_cookie_opens_nothing(guarded: Beacon, forge: Callable[[str], str]) -> None:
    forged = forge(await signed_in(guarded))
    guarded.client.session.cookie_jar.clear()

    response = await guarded.client.get("/api/v1/session", headers={"Cookie": f"{COOKIE}={forged}"})
    assert response.status == 401


async def test_a_new_token_ends_every_cookie(guarded: Beacon, start: Start) -> None:
    cookie = await signed_in(guarded)
    other = await start(api_token="another-token-1234567")

    response = await other.client.get("/api/v1/session", headers={"Cookie": f"{COOKIE}={cookie}"})
    assert response.status == 401


async def test_signing_out_forgets_the_cookie(guarded: Beacon) -> None:
    await signed_in(guarded)

    await guarded.client.post("/sign-out", headers=SAME_ORIGIN)

    assert (await guarded.client.get("/api/v1/session")).status == 401


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        (b"token=" + b"x" * 5000, "application/x-www-form-urlencoded", 413),
        (b'{"token": "x"}', "application/json", 415),
        (b"", "application/x-www-form-urlencoded", 401),
        (b"token=%ff%fe", "application/x-www-form-urlencoded", 401),
        (b"&".join(b"token=x" for _ in range(20)), "application/x-www-form-urlencoded", 401),
    ],
    ids=["too long", "not a form", "empty", "not UTF-8", "many fields"],
)
async def test_a_sign_in_that_cannot_be_read_is_refused(
    guarded: Beacon, data: bytes, content_type: str, status: int
) -> None:
    response = await guarded.client.post("/sign-in", data=data, headers={"Content-Type": content_type})
    assert response.status == status


async def test_without_a_token_there_is_nothing_to_sign_in_to(beacon: Beacon) -> None:
    response = await beacon.client.post("/sign-in", data={"token": "x"}, allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (303, "/")

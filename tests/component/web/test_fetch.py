"""Fetching a file by its URL: within bounds, and only from where everybody may."""

import asyncio
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.errors import InputTooLarge, InvalidInput, NotFetched
from service.web.fetch import Address, Fetcher, is_public
from tests.component.web.files import JPEG, file, moved, serving

LIMIT_BYTES = 100_000


def anywhere(_: Address) -> bool:
    return True


def fetcher(**changed: object) -> Fetcher:
    return Fetcher(**{"limit_bytes": LIMIT_BYTES, "may_connect": anywhere, **changed})  # type: ignore[arg-type]


async def test_a_file_comes_with_its_type_and_name() -> None:
    async with serving({"/a/picture.jpg": file(JPEG, "image/jpeg; q=1")}) as at:
        fetched = await fetcher().fetch(f"{at}/a/picture.jpg?size=1", field="url")

    assert (fetched.data, fetched.media_type, fetched.name) == (JPEG, "image/jpeg", "picture.jpg")


async def test_a_redirect_is_followed() -> None:
    files = {"/old": moved("/new", 301), "/new": moved("newer", 307), "/newer": file(JPEG, "image/jpeg")}
    async with serving(files) as at:
        fetched = await fetcher().fetch(f"{at}/old", field="url")

    assert (fetched.data, fetched.name) == (JPEG, "newer")


PRIVATE = [
    "http://127.0.0.1/",
    "http://localhost/",
    "http://[::1]/",
    "http://0.0.0.0/",
    "http://[::]/",
    "http://10.1.2.3/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data",
    "http://[fe80::1]/",
    "http://[fd00::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://127.1/",
    "http://224.0.0.1/",
]


@pytest.mark.parametrize("url", PRIVATE)
async def test_an_address_inside_of_a_network_is_not_connected_to(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"private network|must begin|must be a URL") as refused:
        await fetcher(may_connect=is_public).fetch(url, field="url")
    assert not isinstance(refused.value, NotFetched)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::101:101"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_public(ip_address(address))


async def test_each_redirect_is_checked_anew() -> None:
    """A public server that leads inside; 127.0.0.1 plays the internet, 127.0.0.2 what is behind the wall."""
    async with serving({"/secret": file(b"secret", "text/plain")}) as inside:
        port = inside.rpartition(":")[2]
        async with serving({"/": moved(f"http://127.0.0.2:{port}/secret")}) as outside:
            with pytest.raises(InvalidInput, match="private network"):
                await fetcher(may_connect=lambda a: str(a) == "127.0.0.1").fetch(f"{outside}/", field="url")


async def test_what_was_checked_is_what_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that answers with a public address first and a private one ever after (DNS rebinding)."""
    looked_up: list[str] = []
    resolve = socket.getaddrinfo

    def rebinding(host: str, port: int, *args: object, **more: object) -> object:
        if host != "rebinding.example":
            return resolve(host, port, *args, **more)  # type: ignore[arg-type]
        looked_up.append(host)
        address = "192.0.2.1" if len(looked_up) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    checked: list[Address] = []

    def may(address: Address) -> bool:
        checked.append(address)
        return False

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with pytest.raises(InvalidInput, match="private network"):
        await fetcher(may_connect=may).fetch("http://rebinding.example/", field="url")

    assert list(map(str, checked)) == ["192.0.2.1"]
    assert len(looked_up) == 1


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "must begin with http"),
        ("picture.jpg", "must begin with http"),
        ("ftp://example.org/a", "must begin with http"),
        ("file:///etc/passwd", "must begin with http"),
        ("http:///a", "must be a URL|must begin with http"),
        ("http://[::1", "must be a URL"),
        ("http://example.org:99999/", "must be a URL"),
        ("http://ann:secret@example.org/", "user or a password"),
        ("http://example.org/" + "a" * 2048, "at most 2048"),
    ],
)
async def test_what_is_no_url_to_fetch_from_is_refused(url: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as refused:
        await fetcher().fetch(url, field="messages[3].url")
    assert refused.value.field == "messages[3].url"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (web.Response(status=404), "answers 404"),
        (web.Response(status=500), "answers 500"),
        (web.Response(status=204), "answers 204"),
        (web.Response(status=304), "answers 304"),
        (moved("/"), "redirected more than 5 times"),
        (moved("ftp://example.org/"), "no address for http"),
        (moved("http://[::1"), "no address for http"),
        (web.Response(body=b"x", headers={"Content-Encoding": "gzip"}), "packed"),
    ],
    ids=str,
)
async def test_a_server_that_gives_no_file_is_told(answer: web.Response, says: str) -> None:
    async with serving({"/": answer}) as at:
        with pytest.raises(NotFetched, match=says):
            await fetcher().fetch(f"{at}/", field="url")


async def test_a_file_over_the_limit_is_refused() -> None:
    async with serving({"/": file(bytes(LIMIT_BYTES + 1), "image/png")}) as at:
        with pytest.raises(InputTooLarge, match="MEDIA_MAX_MB"):
            await fetcher().fetch(f"{at}/", field="url")


@pytest.fixture
async def endless() -> AsyncIterator[str]:
    """A server that sends without end and without saying how much."""

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(10_000))

    application = web.Application()
    application.add_routes([web.get("/", stream)])
    async with TestServer(application) as server:
        yield str(server.make_url("/"))


async def test_a_stream_without_end_is_cut_at_the_limit(endless: str) -> None:
    with pytest.raises(InputTooLarge):
        await fetcher().fetch(endless, field="url")


async def test_a_server_that_is_silent_is_given_up() -> None:
    left = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the other side has given up
        writer.close()
        await writer.wait_closed()
        left.set()

    async with await asyncio.start_server(silent, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NotFetched, match=r"did not come within 0\.05 s"):
            await fetcher(timeout_s=0.05).fetch(f"http://127.0.0.1:{port}/", field="url")
        await left.wait()


@pytest.mark.parametrize(
    ("said", "says"), [(b"hello\n", "does not speak HTTP"), (b"", "ended the connection early")]
)
async def test_a_server_that_speaks_something_else_is_told(said: bytes, says: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NotFetched, match=says):
            await fetcher().fetch(f"http://127.0.0.1:{port}/", field="url")


async def test_a_closed_port_is_told() -> None:
    with pytest.raises(NotFetched, match="no connection"):
        await fetcher().fetch("http://127.0.0.1:1/", field="url")


async def test_a_name_that_nobody_has_is_told() -> None:
    with pytest.raises(NotFetched, match="no host has this name"):
        await fetcher().fetch("http://nobody.invalid/", field="url")

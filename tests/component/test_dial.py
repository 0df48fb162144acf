"""A connection straight or through a proxy: real sockets, proxies that speak their protocol by the book."""

import asyncio
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from service.dial import DialError, dial

Peer = Callable[[StreamReader, StreamWriter], Awaitable[None]]
TARGET = ("web.whatsapp.com", 443)


@asynccontextmanager
async def listening(peer: Peer) -> AsyncIterator[str]:
    """host:port of a server that treats every connection so, and closes it."""

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            await peer(reader, writer)
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def greet(_: StreamReader, writer: StreamWriter) -> None:
    writer.write(b"hello from the other side\n")
    await writer.drain()


async def heard(proxy: str | None, target: tuple[str, int] = TARGET) -> bytes:
    async with asyncio.timeout(60):
        reader, writer = await dial(*target, proxy=proxy)
        try:
            return await reader.readline()
        finally:
            writer.close()
            await writer.wait_closed()


def http_proxy(asked: list[str], status: str = "200 Connection established") -> Peer:
    async def peer(reader: StreamReader, writer: StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.extend(request.strip().split("\r\n"))
        writer.write(f"HTTP/1.1 {status}\r\nServer: test\r\n\r\n".encode())
        if status.startswith("2"):
            await greet(reader, writer)

    return peer


def socks_proxy(asked: list[bytes], *, user: bytes | None = None, reply: int = 0, kind: int = 1) -> Peer:
    bound = {1: bytes(4), 3: b"\x04here", 4: bytes(16)}[kind]

    async def peer(reader: StreamReader, writer: StreamWriter) -> None:
        version, number = await reader.readexactly(2)
        methods = await reader.readexactly(number)
        assert version == 5
        method = 2 if user else 0
        writer.write(bytes([5, method if method in methods else 255]))
        if method not in methods:
            return
        if user:
            _, length = await reader.readexactly(2)
            name = await reader.readexactly(length)
            password = await reader.readexactly((await reader.readexactly(1))[0])
            writer.write(bytes([1, 0 if name + b":" + password == user else 1]))
        try:
            head = await reader.readexactly(5)
        except asyncio.IncompleteReadError:
            return
        asked.append(head[:4] + await reader.readexactly(head[4] + 2))
        writer.write(bytes([5, reply, 0, kind]) + bound + bytes(2))
        await greet(reader, writer)

    return peer


async def test_without_a_proxy_it_goes_straight_there() -> None:
    async with listening(greet) as place:
        host, port = place.split(":")
        assert await heard(None, (host, int(port))) == b"hello from the other side\n"


async def test_an_http_proxy_is_asked_for_a_tunnel() -> None:
    asked: list[str] = []
    async with listening(http_proxy(asked)) as place:
        assert await heard(f"http://{place}") == b"hello from the other side\n"
    assert asked == ["CONNECT web.whatsapp.com:443 HTTP/1.1", "Host: web.whatsapp.com:443"]


async def test_an_http_proxy_gets_user_and_password_decoded() -> None:
    asked: list[str] = []
    async with listening(http_proxy(asked)) as place:
        await heard(f"http://ann:p%40ss@{place}")
    assert asked[-1] == "Proxy-Authorization: Basic YW5uOnBAc3M="


async def test_an_http_proxy_that_refuses_is_quoted() -> None:
    async with listening(http_proxy([], "407 Proxy Authentication Required")) as place:
        with pytest.raises(DialError, match="the proxy refused: 407 Proxy Authentication Required"):
            await heard(f"http://{place}")


@pytest.mark.parametrize("kind", [1, 3, 4], ids=["ipv4", "name", "ipv6"])
async def test_a_socks_proxy_resolves_the_name_itself(kind: int) -> None:
    asked: list[bytes] = []
    async with listening(socks_proxy(asked, kind=kind)) as place:
        assert await heard(f"socks5://{place}") == b"hello from the other side\n"
    assert asked == [b"\x05\x01\x00\x03web.whatsapp.com\x01\xbb"]


async def test_a_socks_proxy_gets_user_and_password() -> None:
    async with listening(socks_proxy([], user=b"ann:p@ss")) as place:
        assert await heard(f"socks5://ann:p%40ss@{place}") == b"hello from the other side\n"


@pytest.mark.parametrize(
    ("credentials", "user", "reply", "sentence"),
    [
        pytest.param("", b"ann:right", 0, "wants user and password", id="no-password-given"),
        pytest.param("ann:wrong@", b"ann:right", 0, "refused user or password", id="wrong-password"),
        pytest.param("", None, 5, "refused: connection refused", id="target-refuses"),
        pytest.param("", None, 99, "refused: code 99", id="code-of-its-own"),
    ],
)
async def test_a_socks_proxy_that_refuses_says_why(
    credentials: str, user: bytes | None, reply: int, sentence: str
) -> None:
    async with listening(socks_proxy([], user=user, reply=reply)) as place:
        with pytest.raises(DialError, match=sentence):
            await heard(f"socks5://{credentials}{place}")


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_something_that_is_no_proxy_is_said(scheme: str) -> None:
    async def hang_up(reader: StreamReader, _: StreamWriter) -> None:
        await reader.read(1)

    async with listening(hang_up) as place:
        with pytest.raises(DialError, match="does not speak its protocol"):
            await heard(f"{scheme}://{place}")


async def test_nobody_there_is_an_os_error() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(OSError, match=r"Connect call failed|refused"):
            await heard(f"http://127.0.0.1:{port}")

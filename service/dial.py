"""A TCP connection to a host, straight or through an HTTP or SOCKS5 proxy.

HTTP: RFC 9110 section 9.3.6 (CONNECT). SOCKS5: RFC 1928, user and password by RFC 1929.
"""

import asyncio
import base64
import ssl
from asyncio import StreamReader, StreamWriter
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

MAX_HEADER_BYTES: Final = 16 * 1024

SOCKS_REPLIES: Final = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "time to live expired",
    7: "command not supported",
    8: "address type not supported",
}


class DialError(OSError):
    """The proxy answered, and would not or could not connect."""


async def dial(host: str, port: int, *, proxy: str | None) -> tuple[StreamReader, StreamWriter]:
    """A connection to host:port on which nothing has been said yet.

    `proxy` is http://, https:// or socks5://, user and password allowed; the proxy resolves the name.
    Raises OSError (DialError when the proxy refused); the caller sets the deadline and closes the writer.
    """
    if proxy is None:
        return await asyncio.open_connection(host, port)
    through = urlsplit(proxy)
    secure = through.scheme == "https"
    reader, writer = await asyncio.open_connection(
        through.hostname,
        through.port or {"http": 80, "https": 443, "socks5": 1080}[through.scheme],
        ssl=ssl.create_default_context() if secure else None,
        limit=MAX_HEADER_BYTES,
    )
    try:
        if through.scheme == "socks5":
            await _socks5(reader, writer, through, host, port)
        else:
            await _connect(reader, writer, through, host, port)
    except BaseException as error:
        writer.close()
        if isinstance(error, asyncio.IncompleteReadError | asyncio.LimitOverrunError):
            raise DialError("the proxy closed the connection or does not speak its protocol") from error
        raise
    return reader, writer


async def _connect(
    reader: StreamReader, writer: StreamWriter, through: SplitResult, host: str, port: int
) -> None:
    lines = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}"]
    if through.username is not None:
        user = f"{unquote(through.username)}:{unquote(through.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(user.encode()).decode()}")
    writer.write("\r\n".join([*lines, "", ""]).encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    status = answer.split(b"\r\n", 1)[0].decode("latin-1").split(maxsplit=2)
    if len(status) < 2 or not status[1].startswith("2"):
        raise DialError(f"the proxy refused: {' '.join(status[1:])}")


async def _socks5(
    reader: StreamReader, writer: StreamWriter, through: SplitResult, host: str, port: int
) -> None:
    methods = b"\x00" if through.username is None else b"\x00\x02"
    writer.write(bytes([5, len(methods)]) + methods)
    version, method = await reader.readexactly(2)
    if version != 5:
        raise DialError("the proxy does not speak SOCKS5")
    if method == 2 and through.username is not None:
        user, password = unquote(through.username).encode(), unquote(through.password or "").encode()
        writer.write(bytes([1, len(user)]) + user + bytes([len(password)]) + password)
        if (await reader.readexactly(2))[1] != 0:
            raise DialError("the proxy refused user or password")
    elif method != 0:
        raise DialError("the proxy wants user and password")
    name = host.encode("idna")
    writer.write(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
    _, reply, _, kind = await reader.readexactly(4)
    if reply != 0:
        raise DialError(f"the proxy refused: {SOCKS_REPLIES.get(reply, f'code {reply}')}")
    bound = {1: 4, 4: 16}.get(kind) or (await reader.readexactly(1))[0]
    await reader.readexactly(bound + 2)

"""A cheap question before a login: does the way to WhatsApp exist at all."""

import asyncio
import base64
import ssl
from contextlib import suppress
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

WHATSAPP: Final = ("web.whatsapp.com", 443)
TIMEOUT_S: Final = 5.0
PROXY_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080}


class Probe:
    """Opens a TCP connection to WhatsApp and closes it; through an HTTP proxy it asks for the tunnel.

    With a https or socks5 proxy, reaching the proxy counts.
    """

    def __init__(
        self, proxy: str | None, *, target: tuple[str, int] = WHATSAPP, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._proxy = urlsplit(proxy) if proxy else None
        self._target = target
        self._timeout_s = timeout_s

    async def __call__(self) -> bool:
        """Is there a way now."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._reach()
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            return False

    async def _reach(self) -> bool:
        if self._proxy is None:
            host, port = self._target
        else:
            host, port = str(self._proxy.hostname), self._proxy.port or PROXY_PORTS[self._proxy.scheme]
        reader, writer = await asyncio.open_connection(host, port)
        try:
            if self._proxy is None or self._proxy.scheme != "http":
                return True
            writer.write(self._tunnel_request(self._proxy))
            await writer.drain()
            answer = await reader.readuntil(b"\r\n")
            return answer.split(b" ", 2)[1:2] == [b"200"]
        finally:
            writer.close()
            with suppress(OSError):  # the other side may have gone first; the answer stands
                await writer.wait_closed()

    def _tunnel_request(self, proxy: SplitResult) -> bytes:
        where = f"{self._target[0]}:{self._target[1]}"
        lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}"]
        if proxy.username is not None:
            pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
            lines.append(f"Proxy-Authorization: Basic {base64.b64encode(pair.encode()).decode()}")
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode()

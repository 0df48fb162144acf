"""The way in: an HTTP proxy on loopback that leads CONNECT to any host to this server's TLS.

After the answer to CONNECT the same socket goes on as TLS, and its plain side as HTTP: no second hop.
The listening socket itself closes while connections are refused, so that a probe of the port fails too.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from service.config import LOOPBACK

log = structlog.get_logger(__name__)

_MAX_REQUEST_BYTES: Final = 8192
_TLS_S: Final = 10.0
_ACCEPT_AGAIN_S: Final = 0.1

Passage = Callable[[], Awaitable[None]]


class Proxy:
    """Accepts connections on one port and hands them, inside TLS, to protocols of `serve`."""

    def __init__(
        self,
        *,
        port: int,
        context: ssl.SSLContext,
        passage: Passage,
        serve: Callable[[], asyncio.Protocol],
    ) -> None:
        self.port = port
        self._context = context
        self._passage = passage
        self._serve = serve
        self._listening: socket.socket | None = None
        self._listener: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._transports: set[asyncio.Transport] = set()

    def listen(self) -> None:
        """Accept connections; port 0 becomes the port taken. Raises OSError when it is in use."""
        listening = socket.create_server((LOOPBACK, self.port), backlog=128)
        listening.setblocking(False)
        self.port = int(listening.getsockname()[1])
        self._listening = listening
        self._listener = asyncio.get_running_loop().create_task(self._accept(listening))

    def refuse(self) -> None:
        """Close the listening socket; open connections stay."""
        if self._listener is not None and self._listening is not None:
            self._listener.cancel()
            self._tasks.add(self._listener)
            self._listener.add_done_callback(self._tasks.discard)
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listener = self._listening = None

    def cut_all(self) -> int:
        """Break every connection; how many there were."""
        transports = self._open()
        for transport in transports:
            transport.abort()
        return len(transports)

    async def close(self) -> None:
        """Stop listening, break everything, and wait until nothing is left running."""
        self.refuse()
        self.cut_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
                await loop.connect_accepted_socket(lambda: _Request(self), connection)
            except OSError as error:  # out of descriptors, or the client was quicker
                log.warning("simulator.accept_failed", error=repr(error))
                await asyncio.sleep(_ACCEPT_AGAIN_S)

    def begin(self, transport: asyncio.Transport) -> None:
        """Note a connection that was accepted."""
        self._transports = {*self._open(), transport}

    def _open(self) -> list[asyncio.Transport]:
        return [transport for transport in self._transports if not transport.is_closing()]

    def lead(self, transport: asyncio.Transport) -> None:
        """Answer a CONNECT and go on with TLS."""
        task = asyncio.get_running_loop().create_task(self._lead(transport))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lead(self, transport: asyncio.Transport) -> None:
        try:
            await self._passage()
            if transport.is_closing():
                return
            transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            early = _Early()
            inside = await asyncio.get_running_loop().start_tls(
                transport, early, self._context, server_side=True, ssl_handshake_timeout=_TLS_S
            )
            if inside is None or early.lost:
                return
            protocol = self._serve()
            inside.set_protocol(protocol)
            protocol.connection_made(inside)
            if early.data:
                protocol.data_received(bytes(early.data))
        except (OSError, ssl.SSLError) as error:  # the client went away, or does not trust the authority
            log.info("simulator.tls_failed", error=repr(error))
            transport.abort()


class _Request(asyncio.Protocol):
    """The first bytes of a connection: one CONNECT request."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._data = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._proxy.begin(transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._data += data
        if b"\r\n\r\n" not in self._data:
            if len(self._data) > _MAX_REQUEST_BYTES:
                self._transport.abort()
        elif self._data.startswith(b"CONNECT ") and self._data.endswith(b"\r\n\r\n"):
            self._proxy.lead(self._transport)
        else:
            self._transport.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            self._transport.close()


class _Early(asyncio.Protocol):
    """Keeps what arrives in the moment between the end of the TLS handshake and the real protocol."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.lost = False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, _: Exception | None) -> None:
        self.lost = True

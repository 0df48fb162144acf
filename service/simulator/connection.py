"""One client's websocket: the Noise handshake, then stanzas in both directions.

Everything that is posted goes out in the order in which it was posted, whatever delay is scripted.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

import structlog
from aiohttp import ClientConnectionResetError, WSMsgType, web

from service.clock import Clock
from service.errors import SimulatorError
from service.simulator.endings import MALFORMED, RESTART, Ending
from service.simulator.faults import Faults
from service.simulator.noise import HEADER_BYTES, Cipher, Identity, ServerHandshake
from service.simulator.stanza import Codec, Node

log = structlog.get_logger(__name__)

_LENGTH_BYTES: Final = 3
_MAX_MESSAGE_BYTES: Final = 1 << 24
_LINGER_S: Final = 1.0  # the client hangs up by itself after most endings; what is left is closed then


class _Hangup(NamedTuple):
    linger_s: float


class _Outgoing(NamedTuple):
    due: float
    item: Node | _Hangup


class Frames:
    """The byte stream of a websocket, cut into frames: 3 bytes of big-endian length, then the payload.

    The client's first frame has a header of 4 bytes in front, `header` after the first `read`.
    """

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self._buffer = bytearray()
        self.header = b""

    async def read(self) -> bytes | None:
        """The next frame, None when the client has gone. Raises SimulatorError for what is no frame."""
        if not self.header:
            if not await self._fill(HEADER_BYTES):
                return None
            self.header = self._take(HEADER_BYTES)
            if not self.header.startswith(b"WA"):
                raise SimulatorError(f"a client that begins with {self.header!r}")
        if not await self._fill(_LENGTH_BYTES):
            return None
        length = int.from_bytes(self._take(_LENGTH_BYTES), "big")
        return self._take(length) if await self._fill(length) else None

    async def write(self, payload: bytes) -> None:
        """Send one frame. Raises ClientConnectionResetError when the client has gone."""
        await self._socket.send_bytes(len(payload).to_bytes(_LENGTH_BYTES, "big") + payload)

    async def _fill(self, size: int) -> bool:
        while len(self._buffer) < size:
            message = await self._socket.receive()
            if message.type is not WSMsgType.BINARY:
                return False
            self._buffer += message.data
        return True

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


class Connection:
    """From accept to hang-up. `run` ends when the client has gone or has been sent away."""

    def __init__(
        self,
        *,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        codec: Codec,
        faults: Faults,
        clock: Clock,
    ) -> None:
        self.phone: str | None = None
        self.noise_key = b""
        self.deaf = False
        self._frames = Frames(socket)
        self._transport = transport
        self._codec = codec
        self._faults = faults
        self._clock = clock
        self._outgoing: asyncio.Queue[_Outgoing] = asyncio.Queue()
        self._ending = False

    def post(self, node: Node) -> None:
        """Send a stanza behind those posted before; dropped when the link is ending, or deaf."""
        if not self.deaf:
            self.pong(node)

    def pong(self, node: Node) -> None:
        """As `post`, and on a deaf link too."""
        if not self._ending:
            self._put(node)

    def end(self, how: Ending, *, linger_s: float = _LINGER_S) -> None:
        """Say why, then hang up: when the client does, or after `linger_s` at the latest."""
        if not self._ending:
            self._put(how.node)
            at_once = how is RESTART and self._faults.close_behind_515
            self._put(_Hangup(0.0 if at_once else linger_s))
            self._ending = True

    def cut(self) -> None:
        """Break the link without a word."""
        self._ending = True
        self._transport.abort()

    async def handshake(self, identity: Identity) -> bytes | None:
        """Agree on keys; the client's payload, None when it has gone. Raises SimulatorError."""
        first = await self._read()
        if first is None:
            return None
        shake = ServerHandshake(identity, self._frames.header)
        await self._frames.write(shake.respond(first))
        second = await self._read()
        if second is None:
            return None
        self.noise_key, payload, self._reading, self._writing = shake.finish(second)
        return payload

    async def run(self, handle: Callable[[Node], None]) -> None:
        """Give every stanza to `handle` until the link ends. A stanza it cannot bear ends the link."""
        writer = asyncio.create_task(self._write())
        try:
            while (frame := await self._read()) is not None:
                if self._ending:
                    continue
                try:
                    handle(self._codec.decode(self._reading.open(frame)))
                except SimulatorError as error:
                    log.warning("simulator.bad_stanza", error=str(error))
                    self.end(MALFORMED)
        finally:
            self._ending = True
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    _reading: Cipher
    _writing: Cipher

    async def _read(self) -> bytes | None:
        frame = await self._frames.read()
        await self._faults.passage(self.phone)
        return frame

    def _put(self, item: Node | _Hangup) -> None:
        due = self._clock.monotonic() + self._faults.delay_s(self.phone)
        self._outgoing.put_nowait(_Outgoing(due, item))

    async def _write(self) -> None:
        while True:
            due, item = await self._outgoing.get()
            early_s = due - self._clock.monotonic()
            if early_s > 0:
                await self._clock.sleep(early_s)
            await self._faults.passage(self.phone)
            if isinstance(item, _Hangup):
                await self._clock.sleep(item.linger_s)  # cancelled when the client hangs up
                self._transport.close()
                return
            try:
                await self._frames.write(self._writing.seal(self._codec.encode(item)))
            except (ClientConnectionResetError, ConnectionError):
                return

"""A WhatsApp client of a few lines, for what a real one would never do."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from service.simulator import library
from service.simulator.noise import Cipher, Handshake, KeyPair
from service.simulator.server import Simulator
from service.simulator.stanza import Codec, Node

HEADER = b"WA\x06\x03"
WA6 = library.module("neonize.proto.waWa6.WAWebProtobufsWa6_pb2")
CODEC = Codec(library.tokens())


@asynccontextmanager
async def socket(simulator: Simulator) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A websocket to the simulator, as whatsmeow opens it."""
    context = ssl.create_default_context(cafile=str(simulator.ca_file))
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect("wss://web.whatsapp.com/ws/chat", proxy=simulator.proxy, ssl=context) as connected,
    ):
        yield connected


class Bare:
    """A client behind the handshake."""

    def __init__(self, connected: aiohttp.ClientWebSocketResponse, sealing: Cipher, opening: Cipher) -> None:
        self._socket = connected
        self._sealing = sealing
        self._opening = opening

    async def send(self, stanza: bytes) -> None:
        """Send bytes in the place of a stanza."""
        await self._socket.send_bytes(frame(self._sealing.seal(stanza)))

    async def say(self, node: Node) -> None:
        await self.send(CODEC.encode(node))

    async def hear(self) -> Node:
        """The next stanza."""
        return CODEC.decode(self._opening.open((await self._socket.receive_bytes())[3:]))

    async def ends(self) -> bool:
        """Whether the server hangs up now."""
        message = await self._socket.receive(timeout=10)
        return message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


def frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + payload


@asynccontextmanager
async def client(
    simulator: Simulator, *, phone: str | None, device: int = 1, static: KeyPair | None = None
) -> AsyncIterator[Bare]:
    """Log in as a device of a phone number, known by its static key, or (None) as a new device."""
    ephemeral, static, state = KeyPair(), static or KeyPair(), Handshake(HEADER)
    hello = WA6.HandshakeMessage(clientHello=WA6.HandshakeMessage.ClientHello(ephemeral=ephemeral.public))
    who = WA6.ClientPayload(username=int(phone), device=device) if phone else WA6.ClientPayload()
    if phone is None:
        who.devicePairingData.SetInParent()
    async with socket(simulator) as connected:
        await connected.send_bytes(HEADER + frame(hello.SerializeToString()))
        answer = await connected.receive_bytes()
        reply = WA6.HandshakeMessage.FromString(answer[3:]).serverHello
        state.authenticate(ephemeral.public)
        state.authenticate(reply.ephemeral)
        state.mix(ephemeral.agree(reply.ephemeral))
        state.mix(ephemeral.agree(state.decrypt(reply.static)))
        state.decrypt(reply.payload)
        sealed = state.encrypt(static.public)
        state.mix(static.agree(reply.ephemeral))
        payload = state.encrypt(who.SerializeToString())
        finish = WA6.HandshakeMessage.ClientFinish(static=sealed, payload=payload)
        await connected.send_bytes(frame(WA6.HandshakeMessage(clientFinish=finish).SerializeToString()))
        yield Bare(connected, *state.split())

"""Clients that are no WhatsApp clients, or no good ones: refused, and nobody else notices."""

import asyncio
import os
from base64 import b64encode
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from service.errors import SimulatorError
from service.simulator.server import Simulator
from service.simulator.stanza import SERVER, Node
from tests.component.simulator.bare import HEADER, Bare, client, frame, socket
from tests.people import ANN


async def plain(simulator: Simulator, request: bytes) -> bytes:
    """What the port answers to raw bytes, until it hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(simulator.proxy.rpartition(":")[2]))
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_only_connect_is_a_request(simulator: Simulator) -> None:
    assert (await plain(simulator, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 405 ")


async def test_a_request_without_end_is_cut_off(simulator: Simulator) -> None:
    assert await plain(simulator, b"CONNECT " + b"a" * 20_000) == b""


async def test_what_is_not_tls_ends_the_connection(simulator: Simulator) -> None:
    port = int(simulator.proxy.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"CONNECT web.whatsapp.com:443 HTTP/1.1\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.write(b"this is not a handshake\r\n")
    assert not (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET /",
        HEADER + frame(b""),
        HEADER + frame(b"\xff" * 100),
        HEADER + b"\xff\xff\xff" + os.urandom(1000),
        frame(b"no header"),
    ],
    ids=["text", "empty", "protobuf", "endless", "headless"],
)
async def test_garbage_in_the_place_of_a_handshake_harms_nobody(simulator: Simulator, garbage: bytes) -> None:
    async with socket(simulator) as connected:
        await connected.send_bytes(garbage)
    await simulator.wait_for(lambda: not list(simulator.links()))
    async with client(simulator, phone=None) as bare:
        assert (await bare.hear()).child("pair-device") is not None


async def test_an_unknown_device_is_told_that_it_is_logged_out(simulator: Simulator) -> None:
    simulator.register(ANN)
    async with client(simulator, phone=ANN) as bare:
        assert await bare.hear() == Node("failure", {"reason": "401"})
        assert await bare.ends()


@pytest.mark.parametrize("stanza", [b"", b"\0\xf8", b"\2nonsense", b"\0\xf8\x00"])
async def test_a_stanza_that_is_none_ends_the_link_with_the_reason(
    simulator: Simulator, stanza: bytes
) -> None:
    async with client(simulator, phone=None) as bare:
        await bare.hear()
        await bare.send(stanza)
        assert await bare.hear() == Node("stream:error", {}, (Node("xml-not-well-formed"),))
        assert await bare.ends()


async def qr_of(simulator: Simulator, bare: Bare) -> str:
    """The QR text that a new device would show now."""
    (link,) = simulator.links()
    ref = (await bare.hear()).need("pair-device").children("ref")[0].data().decode()
    keys = (b64encode(key).decode() for key in (link.noise_key, bytes(32), bytes(32)))
    return ",".join((ref, *keys, "1"))


async def test_a_phone_does_not_wait_for_a_device_that_hung_up(simulator: Simulator) -> None:
    async with client(simulator, phone=None) as bare:
        scanning = asyncio.create_task(simulator.scan(await qr_of(simulator, bare), ANN))
        assert (await bare.hear()).child("pair-success") is not None
    with pytest.raises(SimulatorError, match="hung up before it was linked"):
        await scanning
    assert simulator.accounts[ANN].devices == {}


async def test_a_phone_is_told_what_the_device_refused(simulator: Simulator) -> None:
    async with client(simulator, phone=None) as bare:
        scanning = asyncio.create_task(simulator.scan(await qr_of(simulator, bare), ANN))
        asked = await bare.hear()
        error = Node("error", {"code": "401", "text": "hmac-mismatch"})
        await bare.say(Node("iq", {"to": SERVER, "id": asked.get("id"), "type": "error"}, (error,)))
        with pytest.raises(SimulatorError, match="401 hmac-mismatch"):
            await scanning


async def test_a_simulator_is_left_at_once_whatever_hangs_on_it(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator(tmp_path))
        hanging = await stack.enter_async_context(client(simulator, phone=None))
        await hanging.hear()
        simulator.faults.half_open()
        await asyncio.wait_for(simulator.__aexit__(None, None, None), 5)
        assert await hanging.ends()

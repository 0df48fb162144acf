"""The probe on real sockets."""

import asyncio
import socket
from asyncio import StreamReader, StreamWriter

from service.reconnect.probe import Probe
from service.simulator.server import Simulator


async def test_a_listener_is_a_way() -> None:
    async def serve(_: StreamReader, writer: StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        assert await Probe(None, target=server.sockets[0].getsockname())()


async def test_nobody_there_is_no_way() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert not await Probe(None, target=closed.getsockname())()


async def test_a_proxy_that_accepts_and_says_nothing_is_no_way() -> None:
    release = asyncio.Event()

    async def serve(_: StreamReader, writer: StreamWriter) -> None:
        await release.wait()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        assert not await Probe(f"http://{host}:{port}", timeout_s=0.05)()
        release.set()


async def test_the_way_through_a_proxy_is_seen_to_close_and_open(simulator: Simulator) -> None:
    probe = Probe(simulator.proxy)
    assert await probe()
    simulator.faults.refuse()
    assert not await probe()
    simulator.faults.heal()
    assert await probe()

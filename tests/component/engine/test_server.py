"""The engine's side of the conversation where Go would have to hang or break: a client stands in for it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from service.engine import server as server_module
from service.engine.content import AnyContent, Text
from service.engine.protocol import (
    Connect,
    Connected,
    Done,
    Frame,
    Heartbeat,
    Hello,
    Logout,
    Refusal,
    Refused,
    Send,
    Stop,
    Undecryptable,
    encode,
    read_answer,
)
from service.engine.server import Server
from service.engine.turns import Turns
from service.errors import EngineRefused, FrameError

HELLO = Hello(protocol=1, pid=1, neonize="0", whatsmeow="0")


class StandIn:
    """A client whose Go side does what the test says."""

    def __init__(self) -> None:
        self.connected = True
        self.turns = Turns()
        self.hangs = asyncio.Event()
        self.telling = asyncio.Event()
        self.told = asyncio.Event()
        self.asked = 0
        self.error: Exception | None = None

    async def connect(self, command: Connect) -> None:
        raise EngineRefused("not in this test")

    async def send(
        self, chat: str, content: AnyContent, file: Path | None, secret: bytes
    ) -> tuple[str, float]:
        await self.hangs.wait()
        return "3EB0", 1.0

    async def pair_phone(self, phone: str) -> str:
        return "ABCD-EFGH"

    async def presence(self, *, available: bool) -> None:
        return None

    async def ask_server(self) -> bool:
        await self.hangs.wait()
        return True

    async def logout(self) -> None:
        if self.error:
            raise self.error

    async def state(self) -> tuple[bool, bool]:
        self.asked += 1
        await self.hangs.wait()
        return True, True

    async def disconnect(self) -> None:
        await self.hangs.wait()

    async def all_told(self) -> None:
        self.telling.set()
        await self.told.wait()


class Parent:
    """The other end, with the server running."""

    def __init__(self, client: StandIn, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.client = client
        self.reader = reader
        self.writer = writer
        self.emit: Callable[[Frame], None]
        self.serving: asyncio.Task[int]

    async def told(self, kind: type[Frame]) -> Frame:
        """The next frame of that kind; fails if a heartbeat comes before it."""
        async with asyncio.timeout(20):
            while (frame := await read_answer(self.reader)) is not None:
                if isinstance(frame, kind):
                    return frame
                assert not isinstance(frame, Heartbeat)
        raise AssertionError("the server hung up")


@asynccontextmanager
async def serving(*, heartbeat_s: float = 60.0) -> AsyncIterator[Parent]:
    here, there = socket.socketpair()
    parent = Parent(StandIn(), *await asyncio.open_unix_connection(sock=here))
    reader, writer = await asyncio.open_unix_connection(sock=there)

    def client(emit: Callable[[Frame], None]) -> StandIn:
        parent.emit = emit
        return parent.client

    server = Server(client=client, heartbeat_s=heartbeat_s, unraisable=lambda: 0)
    parent.serving = asyncio.create_task(server.serve(reader, writer, HELLO))
    try:
        yield parent
    finally:
        parent.serving.cancel()
        await asyncio.wait({parent.serving})
        for end in (writer, parent.writer):
            end.close()
        await asyncio.gather(writer.wait_closed(), parent.writer.wait_closed(), return_exceptions=True)


async def test_while_go_does_not_answer_there_is_no_heartbeat_but_all_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "ASK_TIMEOUT_S", 0.01)
    async with serving(heartbeat_s=0.01) as parent:
        assert await parent.told(Hello) == HELLO
        async with asyncio.timeout(20):
            while parent.client.asked < 3:
                await asyncio.sleep(0.005)
        parent.writer.write(encode(Logout(id=1)))
        assert await parent.told(Done) == Done(id=1)

        parent.client.hangs.set()
        await parent.told(Heartbeat)


async def test_a_heartbeat_follows_connected_at_once() -> None:
    async with serving() as parent:
        parent.client.hangs.set()
        await parent.told(Heartbeat)
        parent.emit(Connected(jid="a"))
        await parent.told(Connected)
        await parent.told(Heartbeat)


async def test_a_stop_waits_for_neither_a_send_nor_go_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "DISCONNECT_TIMEOUT_S", 0.01)
    monkeypatch.setattr(server_module, "TELL_TIMEOUT_S", 0.01)
    async with serving() as parent:
        parent.writer.write(
            encode(Send(id=1, token=1, chat="a@b", content=Text(text="hello"), secret=bytes(32)))
        )
        parent.writer.write(encode(Stop(id=2, within_s=0.01)))
        assert await parent.told(Done) == Done(id=2)
        assert await parent.serving == 0


async def test_a_stop_ends_with_what_was_decrypted_before_the_connection_was_closed() -> None:
    async with serving() as parent:
        parent.client.hangs.set()
        await parent.told(Heartbeat)
        parent.writer.write(encode(Stop(id=1, within_s=20)))
        async with asyncio.timeout(20):
            await parent.client.telling.wait()
        parent.emit(Undecryptable(id="3EB0"))
        parent.client.told.set()
        assert await parent.told(Undecryptable) == Undecryptable(id="3EB0")
        assert await parent.told(Done) == Done(id=1)
        assert await parent.serving == 0


async def test_an_error_of_ours_ends_the_engine_loudly() -> None:
    async with serving() as parent:
        parent.client.error = ValueError("a bug of ours")
        parent.writer.write(encode(Logout(id=1)))
        with pytest.raises(ValueError, match="a bug of ours"):
            await parent.serving


async def test_a_parent_that_talks_nonsense_ends_the_engine() -> None:
    async with serving() as parent:
        parent.writer.write(encode(HELLO))
        with pytest.raises(FrameError):
            await parent.serving


async def test_a_parent_that_hangs_up_ends_the_engine() -> None:
    async with serving() as parent:
        await parent.told(Hello)
        parent.writer.close()
        assert await parent.serving == 0


async def test_a_refusal_is_an_answer() -> None:
    async with serving() as parent:
        parent.writer.write(encode(Connect(id=1, database="x", device_name="y")))
        assert await parent.told(Refused) == Refused(id=1, refusal=Refusal.FAILED, text="not in this test")

"""The engine's side of the conversation where Go would have to hang or break: a client stands in for it."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from service.engine import sends as sends_module
from service.engine import server as server_module
from service.engine.content import AnyContent, Text
from service.engine.notebook import Acknowledged, Notebook
from service.engine.protocol import (
    Connect,
    Connected,
    Done,
    Frame,
    Heartbeat,
    Hello,
    Logout,
    Receipt,
    ReceiptKind,
    Refusal,
    Refused,
    Send,
    Sent,
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
        self.acknowledges = threading.Event()
        self.prepared: list[str] = []
        self.handed_over: list[str] = []

    async def connect(self, command: Connect) -> None:
        raise EngineRefused("not in this test")

    async def prepare(self, chat: str, content: AnyContent, file: Path | None, secret: bytes) -> str:
        self.prepared.append(chat)
        return chat

    def send(self, prepared: str) -> tuple[str, float]:
        self.handed_over.append(prepared)
        assert self.acknowledges.wait(60)
        if self.error:
            raise self.error
        return f"id of {prepared}", 1.0

    def sent(self, message_id: str | None) -> None:
        return None

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
        async with asyncio.timeout(60):
            while (frame := await read_answer(self.reader)) is not None:
                if isinstance(frame, kind):
                    return frame
                assert not isinstance(frame, Heartbeat)
        raise AssertionError("the server hung up")


def a_send(number: int, chat: str, *, behind: int | None = None) -> Send:
    content = Text(text="hello")
    return Send(id=number, token=number, chat=chat, content=content, secret=bytes(32), behind=behind)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.005)


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
        parent.client.acknowledges.set()
        parent.serving.cancel()
        await asyncio.wait({parent.serving})
        await until(lambda: not any(thread.name == "send" for thread in threading.enumerate()))
        for end in (writer, parent.writer):
            end.close()
        await asyncio.gather(writer.wait_closed(), parent.writer.wait_closed(), return_exceptions=True)


async def test_while_go_does_not_answer_there_is_no_heartbeat_but_all_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "ASK_TIMEOUT_S", 0.01)
    async with serving(heartbeat_s=0.01) as parent:
        assert await parent.told(Hello) == HELLO
        async with asyncio.timeout(60):
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


async def test_the_next_sends_are_ready_before_it_is_their_turn() -> None:
    async with serving() as parent:
        client = parent.client
        for number, chat in enumerate("abc"):
            parent.writer.write(encode(a_send(number, chat)))
        await until(lambda: client.prepared == ["a", "b", "c"] and client.handed_over == ["a"])

        client.acknowledges.set()
        for number, chat in enumerate("abc"):
            sent = await parent.told(Sent)
            assert isinstance(sent, Sent)
            assert (sent.id, sent.message_id) == (number, f"id of {chat}")
        assert client.handed_over == ["a", "b", "c"]


async def test_what_whatsapp_has_is_noted_before_anybody_is_told_and_told_before_its_receipt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sends_module, "LINGER_S", 3600.0)
    receipt = Receipt(
        message_ids=("id of a",),
        receipt=ReceiptKind.DELIVERED,
        chat="a",
        sender="a",
        from_me=False,
        timestamp=2.0,
    )
    async with serving() as parent:
        parent.client.acknowledges.set()
        parent.writer.write(encode(Connect(id=1, database=str(tmp_path / "session.db"), device_name="d")))
        await parent.told(Refused)
        parent.writer.write(encode(a_send(2, "a")) + encode(a_send(3, "b")))
        await until(lambda: parent.client.handed_over == ["a", "b"])  # so the first has ended
        notebook = Notebook(tmp_path / "session.db")
        acknowledged = Acknowledged(secret=bytes(32), message_id="id of a", timestamp=1.0)
        assert notebook.read()[0] == acknowledged

        parent.emit(receipt)
        first = await parent.told(Frame)
        assert isinstance(first, Sent)
        assert first.id == 2
        assert await parent.told(Receipt) == receipt
        assert receipt in notebook.read()


async def test_a_send_behind_one_that_failed_is_skipped_though_it_was_ready() -> None:
    async with serving() as parent:
        client = parent.client
        client.error = EngineRefused("not today")
        parent.writer.write(encode(a_send(1, "a")))
        parent.writer.write(encode(a_send(2, "b", behind=1)))
        await until(lambda: client.prepared == ["a", "b"])
        client.acknowledges.set()
        refusals = [await parent.told(Refused) for _ in range(2)]
        assert [(one.id, one.refusal) for one in refusals if isinstance(one, Refused)] == [
            (1, Refusal.FAILED),
            (2, Refusal.SKIPPED),
        ]
        assert client.handed_over == ["a"]


async def test_a_stop_lets_the_send_in_flight_end_and_begins_no_other() -> None:
    async with serving() as parent:
        client = parent.client
        client.hangs.set()
        client.told.set()
        for number, chat in enumerate("abc"):
            parent.writer.write(encode(a_send(number, chat)))
        await until(lambda: client.prepared == ["a", "b", "c"] and client.handed_over == ["a"])
        await parent.told(Heartbeat)
        parent.writer.write(encode(Stop(id=9, within_s=60)))
        parent.writer.write(encode(Logout(id=8)))
        await parent.told(Done)  # the stop was read before
        client.acknowledges.set()
        sent = await parent.told(Sent)
        assert isinstance(sent, Sent)
        assert sent.id == 0
        for _ in "bc":
            refused = await parent.told(Refused)
            assert isinstance(refused, Refused)
            assert refused.refusal is Refusal.NOT_CONNECTED
        assert await parent.told(Done) == Done(id=9)
        assert client.handed_over == ["a"]


async def test_an_error_of_ours_while_sending_ends_the_engine_loudly() -> None:
    async with serving() as parent:
        parent.client.error = ValueError("a bug of ours")
        parent.client.acknowledges.set()
        parent.writer.write(encode(a_send(1, "a")))
        with pytest.raises(ValueError, match="a bug of ours"):
            await parent.serving


async def test_a_stop_waits_for_neither_a_send_nor_go_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "DISCONNECT_TIMEOUT_S", 0.01)
    monkeypatch.setattr(server_module, "TELL_TIMEOUT_S", 0.01)
    async with serving() as parent:
        parent.writer.write(encode(a_send(1, "a@b")))
        parent.writer.write(encode(Stop(id=2, within_s=0.01)))
        assert await parent.told(Done) == Done(id=2)
        assert await parent.serving == 0


async def test_a_stop_ends_with_what_was_decrypted_before_the_connection_was_closed() -> None:
    async with serving() as parent:
        parent.client.hangs.set()
        await parent.told(Heartbeat)
        parent.writer.write(encode(Stop(id=1, within_s=20)))
        async with asyncio.timeout(60):
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

"""The engine's queue to the parent: in order, bounded, and never without what tells of the connection."""

import asyncio
import socket

import pytest

from service.engine import outgoing as outgoing_module
from service.engine.outgoing import Outgoing
from service.engine.protocol import (
    Connected,
    Disconnected,
    Done,
    EventsDropped,
    Frame,
    Sent,
    Undecryptable,
    read_answer,
)


async def pumped(outgoing: Outgoing, count: int) -> list[Frame | None]:
    """The first frames that come out at the other end."""
    here, there = socket.socketpair()
    reader, other_writer = await asyncio.open_unix_connection(sock=here)
    _, writer = await asyncio.open_unix_connection(sock=there)
    pump = asyncio.create_task(outgoing.write_to(writer))
    try:
        return [await read_answer(reader) for _ in range(count)]
    finally:
        pump.cancel()
        for end in (writer, other_writer):
            end.close()
            await end.wait_closed()


async def test_frames_leave_in_the_order_in_which_they_came() -> None:
    outgoing = Outgoing()
    frames: list[Frame] = [Connected(jid="a"), Undecryptable(id="1"), Done(id=3), Disconnected()]
    for frame in frames:
        outgoing.put(frame)

    assert await pumped(outgoing, 4) == frames
    await outgoing.written()
    assert len(outgoing) == 0


async def test_a_full_queue_drops_traffic_says_how_much_and_keeps_the_rest() -> None:
    outgoing = Outgoing(limit=2)
    for number in range(5):
        outgoing.put(Undecryptable(id=str(number)))
    outgoing.put(Disconnected())
    assert await pumped(outgoing, 3) == [Undecryptable(id="0"), Undecryptable(id="1"), Disconnected()]

    outgoing.put(Connected(jid="a"))
    assert await pumped(outgoing, 2) == [EventsDropped(count=3), Connected(jid="a")]


async def test_written_waits_for_what_has_not_left() -> None:
    outgoing = Outgoing()
    outgoing.put(Done(id=1))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(outgoing.written(), 0)


async def test_an_outcome_waits_for_company_and_what_nobody_noted_takes_it_along_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outgoing_module, "LINGER_S", 3600.0)
    outgoing = Outgoing()
    frames: list[Frame] = [
        Sent(id=1, message_id="3EB0", timestamp=1.0, took_s=0.0),
        Undecryptable(id="1"),
    ]
    for frame in frames:
        outgoing.put(frame)
    async with asyncio.timeout(60):
        assert await pumped(outgoing, 2) == frames


async def test_an_outcome_without_company_leaves_all_the_same() -> None:
    outgoing = Outgoing()
    sent = Sent(id=1, message_id="3EB0", timestamp=1.0, took_s=0.0)
    outgoing.put(sent)
    async with asyncio.timeout(60):
        assert await pumped(outgoing, 1) == [sent]

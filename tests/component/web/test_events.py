"""The live stream."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientResponse

from service.engine.content import Text
from service.queue.model import NewMessage
from service.web import limits
from service.web.events import BEAT_S, GAP_S
from tests.component.web.conftest import Beacon
from tests.component.web.scripted import CONNECTED, PAIRING

HELLO = NewMessage(chat="4915123456789@s.whatsapp.net", content=Text(text="x"))
DEADLINE_S = 60.0


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until the condition holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0)


@asynccontextmanager
async def stream(beacon: Beacon) -> AsyncIterator[ClientResponse]:
    """An open stream."""
    async with beacon.client.get("/api/v1/events") as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        yield response


async def event(response: ClientResponse) -> dict[str, Any]:
    """The next event."""
    async with asyncio.timeout(DEADLINE_S):
        while (line := await response.content.readline()) not in {b"", b"\n"}:
            if line.startswith(b"data: "):
                found: dict[str, Any] = json.loads(line[6:])
                await response.content.readline()
                return found
    raise AssertionError("the stream ended")


def in_gap(beacon: Beacon) -> bool:
    """Whether a stream waits for the shortest time between two events to pass."""
    return any(left <= GAP_S * 1.01 for left in beacon.clock.sleeps)


async def pass_gap(beacon: Beacon) -> None:
    """Let the shortest time between two events pass."""
    await until(lambda: in_gap(beacon))
    beacon.clock.advance(GAP_S)
    await until(lambda: not in_gap(beacon))


async def test_a_client_is_told_everything_at_once(beacon: Beacon) -> None:
    beacon.connection.become(PAIRING)
    await beacon.outbox.enqueue([HELLO])

    async with stream(beacon) as response:
        first = await event(response)

    assert set(first) == {"at", "service", "session", "queue", "backup"}
    assert first["session"] == await (await beacon.client.get("/api/v1/session")).json()
    assert first["queue"]["counts"]["queued"] == 1
    assert first["queue"]["oldest_queued_at"] == first["at"] == "2023-11-14T22:13:20.000Z"


async def test_a_change_of_the_connection_or_the_queue_is_told(beacon: Beacon) -> None:
    async with stream(beacon) as response:
        assert (await event(response))["session"]["state"] == "starting"

        await pass_gap(beacon)
        beacon.connection.become(CONNECTED)
        assert (await event(response))["session"]["state"] == "connected"

        await pass_gap(beacon)
        await beacon.outbox.enqueue([HELLO, HELLO])
        assert (await event(response))["queue"]["counts"]["queued"] == 2


async def test_many_changes_in_a_short_time_are_one_event_with_the_newest(beacon: Beacon) -> None:
    async with stream(beacon) as response:
        await event(response)
        for attempt in range(1, 100):
            beacon.connection.become(replace(CONNECTED, attempt=attempt))

        await pass_gap(beacon)
        assert (await event(response))["session"]["attempt"] == 99

        await pass_gap(beacon)
        beacon.connection.become(replace(CONNECTED, attempt=100))
        assert (await event(response))["session"]["attempt"] == 100


async def test_a_quiet_stream_still_speaks(beacon: Beacon) -> None:
    async with stream(beacon) as response:
        first = await event(response)
        await pass_gap(beacon)
        await until(lambda: bool(beacon.clock.sleeps))
        beacon.clock.advance(BEAT_S - GAP_S)

        assert (await event(response))["at"] > first["at"]


async def test_open_streams_are_counted_and_one_that_was_left_is_not(beacon: Beacon) -> None:
    async with stream(beacon) as response:
        await event(response)
        assert beacon.sample("http_event_streams") == 1
        response.close()

    await pass_gap(beacon)
    beacon.connection.become(CONNECTED)
    async with asyncio.timeout(DEADLINE_S):
        while beacon.sample("http_event_streams") != 0:
            beacon.connection.become(CONNECTED)
            beacon.clock.advance(GAP_S)
            await asyncio.sleep(0)
    assert beacon.sample("http_requests_in_flight") == 0


async def test_a_stop_ends_every_stream_and_stops_listening(beacon: Beacon) -> None:
    async with stream(beacon) as one, stream(beacon) as two:
        await event(one)
        await event(two)
        await until(lambda: len(beacon.clock.sleeps) == 2)
        stopping = asyncio.create_task(beacon.client.server.close())
        async with asyncio.timeout(DEADLINE_S):
            while not stopping.done():
                beacon.clock.advance(GAP_S)
                await asyncio.sleep(0)
        await stopping

        assert await one.content.read() == b""
        assert await two.content.read() == b""
    assert beacon.connection.listeners == 0


async def test_a_client_that_reads_nothing_holds_up_nobody(beacon: Beacon) -> None:
    """The deaf one gets far more than all buffers between hold; the others go on as if it were not there."""
    loud = replace(PAIRING, sentence="x" * 100_000)
    async with stream(beacon), stream(beacon) as reading:
        await event(reading)
        for attempt in range(1, 120):
            await until(lambda: in_gap(beacon))
            beacon.clock.advance(GAP_S)
            beacon.connection.become(replace(loud, attempt=attempt))
            while (await event(reading))["session"]["attempt"] != attempt:
                pass
        await until(lambda: in_gap(beacon))
        assert len(beacon.clock.sleeps) == 1, "the deaf one should be stuck in a write, not waiting for news"
        assert (await beacon.post(to="+4915123456789", text="x"))["state"] == "queued"


async def test_there_is_a_bound_on_streams(beacon: Beacon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAMS", 1)
    async with stream(beacon) as first:
        await event(first)
        refused = await beacon.client.get("/api/v1/events")
        assert refused.status == 503
        assert "Retry-After" in refused.headers

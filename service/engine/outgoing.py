"""What waits in the engine to be written to the parent, in order of arrival and bounded."""

import asyncio
from collections import deque
from typing import Final

from service.engine.protocol import EventsDropped, Frame, MessageReceived, Receipt, Undecryptable, encode

LIMIT: Final = 10_000

LINGER_S: Final = 0.003
"""How long the first frame waits for others, so that they wake the parent once: two or three outcomes when a
server is near. A person waits for none of them."""

_MAY_BE_DROPPED: Final = (MessageReceived, Receipt, Undecryptable)


class Outgoing:
    """A queue of frames. Past `limit`, traffic is dropped and counted; what tells of the connection, and
    replies, of which there are few, are always taken."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._frames: deque[Frame] = deque()
        self._dropped = 0
        self._changed = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: Frame) -> None:
        """Take the frame, or count it as dropped. Call on the event loop."""
        if len(self._frames) >= self._limit and isinstance(frame, _MAY_BE_DROPPED):
            self._dropped += 1
            return
        if self._dropped and len(self._frames) < self._limit:
            self._frames.append(EventsDropped(count=self._dropped))
            self._dropped = 0
        self._frames.append(frame)
        self._written.clear()
        self._changed.set()

    async def write_to(self, writer: asyncio.StreamWriter) -> None:
        """Write frames, those of a moment together, for ever. Raises ConnectionError: the parent is gone."""
        while True:
            await asyncio.sleep(LINGER_S)
            while self._frames:
                writer.write(encode(self._frames.popleft()))
                await writer.drain()
            self._written.set()
            self._changed.clear()
            await self._changed.wait()

    async def written(self) -> None:
        """Return when everything taken so far has been handed to the operating system's buffer."""
        await self._written.wait()

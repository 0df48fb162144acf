"""What waits in the engine to be written to the parent, in order of arrival and bounded."""

import asyncio
from collections import deque
from typing import Final

from service.engine.protocol import (
    EventsDropped,
    Frame,
    MessageReceived,
    Receipt,
    Sent,
    Undecryptable,
    encode,
)

LIMIT: Final = 10_000

LINGER_S: Final = 0.008
"""How long what may wait does so for others, to wake the parent once: four to eight outcomes when a server is
near, of the eight that it waits for before it hands over more."""

TOGETHER: Final = 64
"""Most frames in one write; each write wakes the parent."""

_MAY_WAIT: Final = (Sent, Receipt)
"""Nobody is in a hurry for these, and they are noted (notebook.py): a killed engine loses none."""

_MAY_BE_DROPPED: Final = (MessageReceived, Receipt, Undecryptable)


class Outgoing:
    """A queue of frames. Past `limit`, traffic is dropped and counted; what tells of the connection, and
    replies, of which there are few, are always taken."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._frames: deque[Frame] = deque()
        self._dropped = 0
        self._changed = asyncio.Event()
        self._lingering: asyncio.TimerHandle | None = None
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
        if not isinstance(frame, _MAY_WAIT):
            self._changed.set()
        elif self._lingering is None:
            self._lingering = asyncio.get_running_loop().call_later(LINGER_S, self._changed.set)

    def hurry(self) -> None:
        """Write what may wait."""
        self._changed.set()

    async def write_to(self, writer: asyncio.StreamWriter) -> None:
        """Write frames as they come, for ever. Raises ConnectionError when the parent is gone."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._lingering is not None:
                self._lingering.cancel()
                self._lingering = None
            while self._frames:
                frames = [self._frames.popleft() for _ in range(min(TOGETHER, len(self._frames)))]
                writer.write(b"".join(map(encode, frames)))
                await writer.drain()
            self._written.set()

    async def written(self) -> None:
        """Return when everything taken so far has been handed to the operating system's buffer."""
        await self._written.wait()

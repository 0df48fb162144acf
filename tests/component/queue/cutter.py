"""A line to PostgreSQL that is cut in the middle of a COMMIT, before or after the server has it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum

COMMIT = b"COMMIT\0"


class Cut(Enum):
    """Where."""

    BEFORE = "before the server hears of it"
    AFTER = "before its answer is heard"


class Cutter:
    """Carries every connection until it is told to cut the next COMMIT; then it may stay closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self.cut: Cut | None = None
        self.stays_closed = False
        """Nobody gets through after the cut."""
        self.open = True
        self.cuts = 0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self._writers.add(writer)
        try:
            if self.open:
                with suppress(OSError):
                    await self._between(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _between(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.add(back)
        answers = asyncio.create_task(_pump(there, writer))
        try:
            while data := await reader.read(65536):
                if self.cut is not None and COMMIT in data:
                    cut, self.cut = self.cut, None
                    self.open = not self.stays_closed
                    self.cuts += 1
                    answers.cancel()
                    if cut is Cut.AFTER:
                        back.write(data)
                        await back.drain()
                        while not (await there.read(65536)).startswith(b"C"):
                            pass
                    return
                back.write(data)
                await back.drain()
        finally:
            answers.cancel()
            self._writers.discard(back)
            back.close()

    def close(self) -> None:
        """End every connection."""
        self.open = False
        for writer in tuple(self._writers):
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def cutter(port: int) -> AsyncIterator[tuple[Cutter, int]]:
    """A cutter before this port, and the port to connect to."""
    cutting = Cutter(port)
    server = await asyncio.start_server(cutting.carry, "127.0.0.1", 0)
    try:
        yield cutting, server.sockets[0].getsockname()[1]
    finally:
        cutting.close()
        server.close()
        await server.wait_closed()

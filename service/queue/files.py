"""Bytes of messages, put where the engine can read them for as long as a claim needs them."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


class OutgoingFiles:
    """A folder of files (0700, its files 0600), each named by the SHA-256 of its bytes.

    Nobody else may use the folder: `clear` removes whatever is in it.
    """

    def __init__(self, folder: Path, *, read: Callable[[str], Awaitable[bytes | None]]) -> None:
        self._folder = folder
        self._read = read
        self._held: Counter[str] = Counter()
        self._turn = asyncio.Lock()

    async def clear(self) -> None:
        """Make the folder, and remove what an earlier process left in it. Raises OSError."""
        await asyncio.to_thread(self._clear)

    @asynccontextmanager
    async def held(self, sha256: str) -> AsyncIterator[Path | None]:
        """The path of these bytes, None when they are not kept. The last one to leave removes the file.

        Raises OSError when it cannot be written, StoreUnavailable when the bytes cannot be read.
        """
        path = await self._put(sha256)
        try:
            yield path
        finally:
            if path is not None:
                await self._leave(sha256, path)

    async def _put(self, sha256: str) -> Path | None:
        async with self._turn:
            if not self._held[sha256]:
                data = await self._read(sha256)
                if data is None:
                    return None
                await asyncio.to_thread(self._write, sha256, data)
            self._held[sha256] += 1
            return self._folder / sha256

    async def _leave(self, sha256: str, path: Path) -> None:
        async with self._turn:
            self._held[sha256] -= 1
            if not self._held[sha256]:
                del self._held[sha256]
                try:
                    await asyncio.to_thread(path.unlink, missing_ok=True)
                except OSError as error:  # whoever holds it has an answer that must not be lost for this
                    log.warning("outgoing.not_removed", error=error.strerror)

    def _clear(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for left in self._folder.iterdir():
            left.unlink()

    def _write(self, sha256: str, data: bytes) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        fresh = self._folder / f"{sha256}.new"
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            fresh.rename(self._folder / sha256)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise

"""Files on their way to WhatsApp, before the message that names them: where one fails, nothing was sent.

whatsmeow sets no limit to the time an upload takes (upload.go, client.go), so it is set here. What was given
up goes on in its thread until Go's own connection ends.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from service.engine.content import Audio, Media, Sticker
from service.engine.media import opus_seconds, webp_moves
from service.errors import EngineRefused

SLOWEST_RATE: Final = 128 * 1024
"""Bytes a second below which an upload is given up: about 1 Mbit/s, at which 64 MB take nine minutes."""

OVERHEAD_S: Final = 30.0
"""For asking WhatsApp where to, connecting, and its answer."""

GIVEN_UP: Final = 4
"""So many given-up uploads may hold a thread of the engine; with the next one the parent ends the engine."""


def upload_within_s(size_bytes: int) -> float:
    """How long an upload of that size may take."""
    return OVERHEAD_S + size_bytes / SLOWEST_RATE


@dataclass(frozen=True, slots=True)
class Uploaded:
    """neonize's UploadResponse, and what the file says of itself."""

    response: Any
    seconds: int | None
    animated: bool


class Uploads:
    """Reads kept files and has them uploaded, one at a time. `upload` raises EngineRefused."""

    def __init__(
        self,
        upload: Callable[[Media, bytes], Awaitable[Any]],
        *,
        within_s: Callable[[int], float] = upload_within_s,
    ) -> None:
        self._upload = upload
        self._within_s = within_s
        self._given_up: set[asyncio.Future[Any]] = set()

    async def bring(self, content: Media, path: Path | None) -> Uploaded:
        """Upload the content's file, whose bytes lie at that path.

        Raises EngineRefused: "file: ..." when the bytes are not to be had, "upload: ..." when WhatsApp did
        not take them.
        """
        data = await self._read(content, path)
        response = await self._in_time(content, data)
        if response.FileSHA256.hex() != content.file.sha256:
            raise EngineRefused("file: its bytes are not those that were kept")
        return Uploaded(
            response,
            seconds=opus_seconds(data) if isinstance(content, Audio) else None,
            animated=isinstance(content, Sticker) and webp_moves(data),
        )

    async def _read(self, content: Media, path: Path | None) -> bytes:
        if path is None:
            raise EngineRefused("file: no path was given")
        try:
            data = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            raise EngineRefused(f"file: {error.strerror}") from error
        if len(data) != content.file.size_bytes:
            raise EngineRefused(f"file: {len(data)} bytes instead of {content.file.size_bytes}")
        return data

    async def _in_time(self, content: Media, data: bytes) -> Any:
        uploading = asyncio.ensure_future(self._upload(content, data))
        limit_s = self._within_s(len(data)) if len(self._given_up) < GIVEN_UP else None
        done, _ = await asyncio.wait({uploading}, timeout=limit_s)
        if not done:
            self._given_up.add(uploading)
            uploading.add_done_callback(self._came_too_late)
            raise EngineRefused(f"upload: not done within {limit_s:.0f} s")
        try:
            return uploading.result()
        except EngineRefused as refused:
            raise EngineRefused(f"upload: {refused.text}") from refused

    def _came_too_late(self, uploading: "asyncio.Future[Any]") -> None:
        self._given_up.discard(uploading)
        if not uploading.cancelled():
            uploading.exception()  # nobody waits for it any more

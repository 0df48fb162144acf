"""Files that are small, and real enough for their first bytes; and a server that gives them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import TestServer

JPEG = b"\xff\xd8\xff\xe0" + b"a picture" * 20
PNG = b"\x89PNG\r\n\x1a\n" + b"a picture" * 20
WEBP = b"RIFF\x20\x00\x00\x00WEBPVP8 " + b"a picture"
MP4 = b"\x00\x00\x00\x20ftypisom" + b"a film" * 20
OPUS = b"OggS" + bytes(24) + b"OpusHead" + b"a voice" * 20
VORBIS = b"OggS" + bytes(24) + b"\x01vorbis" + b"a song" * 20
PDF = b"%PDF-1.7 a paper"


@asynccontextmanager
async def serving(files: Mapping[str, web.Response]) -> AsyncIterator[str]:
    """A web server on loopback that answers these paths; its address. Each answer is given once or often."""

    async def give(request: web.Request) -> web.StreamResponse:
        given = files[request.path]
        headers = {k: v for k, v in given.headers.items() if k != "Content-Length"}
        return web.Response(status=given.status, body=given.body, headers=headers)

    application = web.Application()
    application.add_routes([web.get(path, give) for path in files])
    async with TestServer(application) as server:
        yield str(server.make_url("")).rstrip("/")


def file(data: bytes, media_type: str) -> web.Response:
    """A 200 with that file."""
    return web.Response(body=data, headers={"Content-Type": media_type})


def moved(to: str, status: int = 302) -> web.Response:
    """A redirect."""
    return web.Response(status=status, headers={"Location": to})

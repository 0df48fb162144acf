"""Brings the files of messages into the queue before them: uploaded ones, and those named by a URL."""

import asyncio
from collections.abc import Sequence
from typing import Final

from aiohttp import web
from msgspec.structs import replace

from service.engine.content import File
from service.errors import InvalidInput
from service.queue.content import MAX_LINE_CHARS, check_file_name
from service.queue.media import media_type_of
from service.web import limits
from service.web.contents import MediaIn
from service.web.fetch import Fetched, Fetcher
from service.web.intake import Draft
from service.web.ports import Outbox
from service.web.problem import from_inputs
from service.web.upload import FILE, Upload, read_upload

URL: Final = "url"


class Media:
    """Holds few files in memory at a time; who comes then waits."""

    def __init__(self, *, outbox: Outbox, fetcher: Fetcher, limit_bytes: int) -> None:
        self._outbox = outbox
        self._fetcher = fetcher
        self._limit_bytes = limit_bytes
        self._slots = asyncio.Semaphore(limits.MEDIA_AT_ONCE)

    async def read(self, request: web.Request) -> Upload:
        """A message with its file. Raises Problem."""
        async with self._slots:
            return await read_upload(request, limit_bytes=self._limit_bytes)

    async def keep(self, draft: Draft, file: Fetched) -> Draft:
        """The message with its uploaded file, which is kept. Raises Problem, StoreUnavailable."""
        if not isinstance(draft.given, MediaIn):
            raise from_inputs([InvalidInput(FILE, f"is no part of a {draft.given.type}")])
        if draft.given.url is not None:
            raise from_inputs([InvalidInput(URL, "must not be given together with a file")])
        try:
            unnamed = _file(draft, file, draft.field(FILE))
        except InvalidInput as fault:
            raise from_inputs([fault]) from None
        return draft.with_file(replace(unnamed, sha256=await self._outbox.keep_file(file.data)))

    async def fetch_all(self, drafts: Sequence[Draft]) -> list[Draft]:
        """The messages, each with its file, which is kept; each URL is fetched once.

        Raises Problem that names every fault, StoreUnavailable.
        """
        by_url = _by_url(drafts)
        found = await asyncio.gather(*(self._fetch(url, sharing) for url, sharing in by_url.items()))
        if faults := [fault for _, some in found for fault in some]:
            raise from_inputs(faults)
        files = {path: file for some, _ in found for path, file in some.items()}
        return [draft.with_file(files[draft.path]) if draft.path in files else draft for draft in drafts]

    async def _fetch(self, url: str, sharing: Sequence[Draft]) -> tuple[dict[str, File], list[InvalidInput]]:
        """The file of each message that names the URL, by the message's path, and what is wrong."""
        async with self._slots:
            try:
                fetched = await self._fetcher.fetch(url, field=sharing[0].field(URL))
            except InvalidInput as fault:
                return {}, [fault]
            files: dict[str, File] = {}
            faults: list[InvalidInput] = []
            for draft in sharing:
                try:
                    files[draft.path] = _file(draft, fetched, draft.field(URL))
                except InvalidInput as fault:
                    faults.append(fault)
            if faults:
                return {}, faults
            sha256 = await self._outbox.keep_file(fetched.data)
        return {path: replace(unnamed, sha256=sha256) for path, unnamed in files.items()}, []


def _file(draft: Draft, fetched: Fetched, field: str) -> File:
    """The file as the message names it, without the hash that it gets when it is kept. Raises InvalidInput
    for one that cannot be sent as the message's kind."""
    given, data = draft.given, fetched.data
    assert isinstance(given, MediaIn)
    name = given.file_name or _usable(fetched.name)
    media_type = media_type_of(
        data, stated=fetched.media_type, name=name, kind=given.kind, voice=given.is_voice, field=field
    )
    return File(sha256="", media_type=media_type, size_bytes=len(data), name=name)


def _by_url(drafts: Sequence[Draft]) -> dict[str, list[Draft]]:
    """The messages that name each URL. Raises Problem."""
    by_url: dict[str, list[Draft]] = {}
    for draft in drafts:
        if isinstance(draft.given, MediaIn):
            if draft.given.url is None:
                missing = (
                    "is missing; must be an http or https URL, or the file be sent as multipart/form-data"
                )
                raise from_inputs([InvalidInput(draft.field(URL), missing)])
            by_url.setdefault(draft.given.url, []).append(draft)
    if len(by_url) > limits.FETCHES:
        late = by_url[list(by_url)[limits.FETCHES]][0]
        sentence = f"is one too many: a request may name files by at most {limits.FETCHES} different URLs"
        raise from_inputs([InvalidInput(late.field(URL), sentence)])
    return by_url


def _usable(name: str | None) -> str | None:
    """A name that nobody chose for us, if it may be shown: its last part, not too long."""
    if name is None:
        return None
    last = name.replace("\\", "/").rpartition("/")[2][-MAX_LINE_CHARS:]
    try:
        check_file_name(last, field=FILE)
    except InvalidInput:
        return None
    return last

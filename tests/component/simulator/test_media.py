"""The media servers as a plain HTTP client sees them; real clients are in `tests/component/engine`."""

import base64
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from service.simulator import media
from service.simulator.server import Simulator
from tests.people import ANN

SEALED = b"what a client has encrypted"
TOKEN = base64.urlsafe_b64encode(hashlib.sha256(SEALED).digest()).decode()


class Media:
    """Ann's authorisation, and a client that uses it."""

    def __init__(self, simulator: Simulator, http: aiohttp.ClientSession) -> None:
        self.simulator = simulator
        self.account = simulator.register(ANN)
        node = simulator._queries._media.connection(self.account)
        self.host = node.need("host").get("hostname")
        self.auth = node.get("auth")
        self._http = http
        self._tls = ssl.create_default_context(cafile=str(simulator.ca_file))

    async def upload(self, data: bytes, *, token: str = TOKEN, auth: str | None = None) -> tuple[int, str]:
        """The status, and the direct path when it was taken."""
        url = f"https://{self.host}/mms/image/{token}"
        query = {"auth": self.auth if auth is None else auth, "token": token}
        async with self._http.post(
            url, params=query, data=data, proxy=self.simulator.proxy, ssl=self._tls
        ) as answer:
            return answer.status, (await answer.json())["direct_path"] if answer.status == 200 else ""

    async def download(self, path: str) -> tuple[int, bytes]:
        async with self._http.get(
            f"https://{self.host}{path}", proxy=self.simulator.proxy, ssl=self._tls
        ) as answer:
            return answer.status, await answer.read()


@pytest.fixture
async def servers(simulator: Simulator) -> AsyncIterator[Media]:
    async with aiohttp.ClientSession() as http:
        yield Media(simulator, http)


async def test_what_was_uploaded_can_be_downloaded(servers: Media) -> None:
    status, path = await servers.upload(SEALED)
    assert status == 200
    assert await servers.download(f"{path}&hash={TOKEN}") == (200, SEALED)
    assert servers.account.uploaded == 1


async def test_only_who_was_authorised_may_upload(servers: Media) -> None:
    assert (await servers.upload(SEALED, auth="stolen"))[0] == 401
    assert servers.account.uploaded == 0


async def test_what_does_not_fit_its_hash_is_refused(servers: Media) -> None:
    assert (await servers.upload(SEALED + b"!"))[0] == 400


async def test_what_is_too_large_is_refused(servers: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MAX_FILE_BYTES", len(SEALED) - 1)
    assert (await servers.upload(SEALED))[0] == 413


@pytest.mark.parametrize(
    "path",
    [lambda _: "/v/nothing?x=1", lambda kept: f"{kept}&hash=other"],
    ids=["unknown", "another hash"],
)
async def test_what_is_not_kept_is_not_found(servers: Media, path: Callable[[str], str]) -> None:
    _, kept = await servers.upload(SEALED)
    assert (await servers.download(path(kept)))[0] == 404


async def test_the_oldest_files_make_room(servers: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    _, first = await servers.upload(SEALED)
    monkeypatch.setattr(media, "MAX_KEPT_BYTES", len(SEALED))
    other = SEALED[::-1]
    token = base64.urlsafe_b64encode(hashlib.sha256(other).digest()).decode()
    _, second = await servers.upload(other, token=token)
    assert (await servers.download(first))[0] == 404
    assert await servers.download(second) == (200, other)


async def test_an_upload_is_refused_as_scripted_and_then_taken(servers: Media) -> None:
    servers.simulator.faults.refuse_uploads(503, ANN)
    assert (await servers.upload(SEALED))[0] == 503
    assert (await servers.upload(SEALED))[0] == 200

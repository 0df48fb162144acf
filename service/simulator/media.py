"""The media servers: files that clients encrypted, kept by the hash of what was uploaded.

The client asks `<media_conn>` where to and with which authorisation, then it is plain HTTP (whatsmeow
mediaconn.go, upload.go, download.go): `POST /mms/<type>/<hash>` and `GET <direct path>&hash=<hash>`.
"""

import base64
import hashlib
import secrets
from typing import Final
from urllib.parse import quote

from aiohttp import web

from service.clock import Clock
from service.simulator.accounts import Account
from service.simulator.faults import Faults
from service.simulator.stanza import Node

HOST: Final = "mmg.whatsapp.net"
MAX_FILE_BYTES: Final = 128 << 20
MAX_KEPT_BYTES: Final = 512 << 20

_VALID_S: Final = 300
_LOOK_AGAIN_S: Final = 0.05


class MediaServers:
    """Takes uploads of those who were given an authorisation, and hands files to everybody who asks.

    Past `MAX_KEPT_BYTES` the oldest files are forgotten.
    """

    def __init__(self, faults: Faults, clock: Clock) -> None:
        self._faults = faults
        self._clock = clock
        self._accounts: dict[str, Account] = {}
        self._files: dict[str, bytes] = {}

    def connection(self, account: Account) -> Node:
        """The answer to `<media_conn>`."""
        auth = secrets.token_urlsafe(24)
        self._accounts[auth] = account
        attrs = {"auth": auth, "ttl": str(_VALID_S), "auth_ttl": str(_VALID_S), "max_buckets": "12"}
        return Node("media_conn", attrs, (Node("host", {"hostname": HOST}),))

    def routes(self) -> list[web.RouteDef]:
        """What the web application has to serve."""
        return [web.post("/mms/{type}/{token}", self._take), web.get("/v/{token}", self._give)]

    async def _take(self, request: web.Request) -> web.Response:
        account = self._accounts.get(request.query.get("auth", ""))
        if account is None:
            return web.Response(status=401)
        await self._faults.passage(account.phone)
        if (code := self._faults.next_upload_refusal(account.phone)) is not None:
            return web.Response(status=code)
        data = bytearray()
        async for chunk in request.content.iter_chunked(1 << 16):
            data += chunk
            if len(data) > MAX_FILE_BYTES:
                return web.Response(status=413)
        await self._dawdle(account.phone, len(data))
        token = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()
        if token != request.match_info["token"]:
            return web.Response(status=400)
        self._keep(token, bytes(data))
        account.uploaded += 1
        path = f"/v/{quote(token)}?ccb=11"
        return web.json_response({"url": f"https://{HOST}{path}", "direct_path": path})

    async def _give(self, request: web.Request) -> web.Response:
        await self._faults.passage(None)
        token = request.match_info["token"]
        data = self._files.get(token)
        if data is None or request.query.get("hash", token) != token:
            return web.Response(status=404)
        return web.Response(body=data)

    async def _dawdle(self, phone: str, size_bytes: int) -> None:
        began = self._clock.monotonic()
        while (rate := self._faults.upload_rate(phone)) is not None:
            if (self._clock.monotonic() - began) * rate >= size_bytes:
                return
            await self._clock.sleep(_LOOK_AGAIN_S)

    def _keep(self, token: str, data: bytes) -> None:
        self._files[token] = data
        while sum(map(len, self._files.values())) > MAX_KEPT_BYTES:
            del self._files[next(iter(self._files))]

"""KEEP_ALIVE_URL in a running service."""

import asyncio
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.e2e.process import DEADLINE_S, beacon
from tests.e2e.test_no_network import NOWHERE


async def test_the_address_is_fetched_and_shown_nowhere(tmp_path: Path) -> None:
    fetched = asyncio.Event()

    async def ping(_: web.Request) -> web.Response:
        fetched.set()
        return web.Response(status=204)

    site = web.Application()
    site.router.add_get("/ping/0f9a8b7c", ping)
    async with (
        TestServer(site) as server,
        beacon(
            tmp_path, env={**NOWHERE, "KEEP_ALIVE_URL": str(server.make_url("/ping/0f9a8b7c"))}
        ) as running,
    ):
        async with asyncio.timeout(DEADLINE_S):
            await fetched.wait()
        assert "0f9a8b7c" not in running.stderr.read_text() + running.stdout.read_text()
        async with running.http.get("/metrics") as response:
            assert "whatsapp_keep_alive_requests_total{" in await response.text()

"""The page as it leaves the service; what a browser makes of it is tests/e2e/test_page.py."""

import re

import pytest

from service.queue.model import State
from service.web.pages import ASSETS, TILES
from tests.component.web.conftest import Beacon

ROUTES = (
    "/",
    "/healthz",
    "/metrics",
    "/api/v1/session",
    "/api/v1/nothing",
    "/assets/page.js",
    "/favicon.ico",
)


@pytest.mark.parametrize("path", ROUTES)
async def test_every_answer_carries_the_headers_that_protect_it(beacon: Beacon, path: str) -> None:
    headers = (await beacon.client.get(path)).headers

    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == ("same-origin" if path == "/" else "no-referrer")
    assert headers["Server"] == "Beacon"
    cached = path in {"/assets/page.js", "/favicon.ico"}
    assert ("no-store" in headers["Cache-Control"]) != cached


async def test_the_page_holds_no_inline_code_and_asks_nobody_else(guarded: Beacon, beacon: Beacon) -> None:
    for html in (await (await guarded.client.get("/")).text(), await (await beacon.client.get("/")).text()):
        assert re.search(r"<script(?![^>]*\bsrc=)|<style|\bon\w+=|\bstyle=|javascript:", html) is None
        assert re.findall(r'(?:src|href|action)="(?!/|#)[^"]*"', html) == []
    for name in ASSETS:
        text = await (await beacon.client.get(f"/assets/{name}")).text()
        assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)[^\s\"']+|@import", text) == []


async def test_every_file_the_page_names_is_there(beacon: Beacon) -> None:
    html = await (await beacon.client.get("/")).text()

    named = set(re.findall(r'"(/assets/[^"]+)"', html))
    assert len(named) == len(ASSETS)
    for address in named:
        assert (await beacon.client.get(address)).status == 200
    assert (await beacon.client.get("/assets/pages.py")).status == 404
    assert (await beacon.client.get("/assets/..%2Fpages.py")).status == 404


async def test_the_sign_in_form_tells_a_stranger_nothing(guarded: Beacon) -> None:
    html = await (await guarded.client.get("/")).text()

    assert "API_TOKEN" in html
    assert "Sign out" not in html
    assert "page.js" not in html


def test_every_state_of_a_message_has_its_tile() -> None:
    assert {state for state, _, _ in TILES} == set(State)

"""Debian's Chromium, driven by Playwright; no browser is ever downloaded."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, Page, async_playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZES: Final = {"desktop": (1280, 900), "phone": (390, 844)}


def chromium() -> str:
    """The browser's path, from CHROMIUM or the names it goes by. Raises AssertionError without one."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    assert found is not None, (
        f"no browser found: install Debian's chromium, or set CHROMIUM to one of {', '.join(NAMES)}"
    )
    assert Path(found).exists(), f"CHROMIUM={found}: there is no such file"
    return found


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A browser with a profile that is new and goes away with it."""
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(
            executable_path=chromium(), headless=True, args=list(FLAGS)
        )
        try:
            yield running
        finally:
            await running.close()


@asynccontextmanager
async def page(browser: Browser, *, size: str, quiet: bool = True) -> AsyncIterator[Page]:
    """A page of that size. With `quiet`, nothing may be in its console, and it may ask no other host."""
    width, height = SIZES[size]
    context = await browser.new_context(viewport={"width": width, "height": height})
    shown = await context.new_page()
    noise: list[str] = []
    hosts: set[str] = set()
    shown.on("console", lambda message: noise.append(f"{message.type}: {message.text}"))
    shown.on("pageerror", lambda error: noise.append(f"exception: {error}"))
    shown.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    try:
        yield shown
        if quiet:
            assert noise == [], "the console must stay empty"
            assert len([host for host in hosts if host]) <= 1, f"the page asked {hosts}"
    finally:
        await context.close()

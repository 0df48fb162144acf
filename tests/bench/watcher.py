"""Everything that watches a service, in a process of its own: an OTLP receiver, and a scraper.

Prints `PORT n` of the receiver, then reads lines: `SCRAPE URL` begins to scrape that service, `REST` ends it.
"""

import asyncio
import sys
from typing import Final

import aiohttp
from aiohttp import web

EVERY_S: Final = 5.0
HEADERS: Final = {
    "Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Accept-Encoding": "gzip",
}
"""What Prometheus asks for."""


async def take(request: web.Request) -> web.Response:
    """An OTLP request is read and answered with an empty message: all of it was taken."""
    await request.read()
    return web.Response(content_type="application/x-protobuf")


async def scrape(url: str) -> None:
    """Scrape until cancelled; a service that is not there is none of ours."""
    async with aiohttp.ClientSession(headers=HEADERS) as http:
        while True:
            try:
                async with http.get(f"{url}/metrics") as response:
                    await response.read()
            except aiohttp.ClientError as error:
                sys.stderr.write(f"{type(error).__name__}\n")
            await asyncio.sleep(EVERY_S)


async def main() -> None:
    """Watch as told, until stdin ends."""
    application = web.Application(client_max_size=64 << 20)
    application.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"PORT {runner.addresses[0][1]}\n")
    sys.stdout.flush()
    scraping: asyncio.Task[None] | None = None
    while line := await asyncio.to_thread(sys.stdin.readline):
        if scraping is not None:
            scraping.cancel()
            scraping = None
        word, _, url = line.strip().partition(" ")
        if word == "SCRAPE":
            scraping = asyncio.create_task(scrape(url))
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())

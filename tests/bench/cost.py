"""What being watched costs: the same service with everything on and with everything off, by turns.

On is: traces exported, metrics pushed and scraped every five seconds, which is twelve and three times as
often as by default, so that a turn has its share of both. Who receives and scrapes is a process of its own,
but on the same cores. The recipient's client is offline meanwhile: the sender is what is measured.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from service.demo.check import pair
from service.demo.host import Host
from service.simulator.server import Simulator
from tests.bench.figures import ratio, whole
from tests.bench.sending import ann, send_through
from tests.bench.watcher import HEADERS

PUSH_EVERY_MS: Final = 5000
"""A turn lasts 20 s and more, and must have its share of pushes; in earnest there is one a minute."""
SCRAPES: Final = 41

MEANING: Final = {
    "sends_per_second": "each round: everything on (traces, push and scrape every 5 s), and off",
    "cpu_ms_per_message": "each round: CPU of the service's own process, without its engine",
    "on_to_off": "median over the rounds of the rate with everything on to that without; goal: at least 0.97",
    "scrape_ms": "median time of GET /metrics as OpenMetrics, before any message and after a day's worth",
    "scrape_bytes": "its size, as it goes over the wire",
    "series": "how many series there were; goal: the same before and after",
    "dropped": "spans of those messages that were given up; what is left out of the traces",
    "messages": "a day's worth: as many as the default pace lets out in 24 hours",
}


class Watcher:
    """Receiver and scraper."""

    def __init__(self, process: asyncio.subprocess.Process, endpoint: str) -> None:
        self.process = process
        self.endpoint = endpoint

    def tell(self, line: str) -> None:
        """One line to it."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())


@asynccontextmanager
async def watcher() -> AsyncIterator[Watcher]:
    """A watcher that rests."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.watcher"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        port = (await process.stdout.readline()).decode().removeprefix("PORT ").strip()
        yield Watcher(process, f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        await process.wait()


async def measure(folder: Path, *, sends: int, rounds: int, day: int) -> dict[str, Any]:
    """All figures of this benchmark, by name."""
    async with Simulator(folder) as simulator, watcher() as watched:
        off = simulator.environment()
        on = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": watched.endpoint,
            "OTEL_METRIC_EXPORT_INTERVAL": str(PUSH_EVERY_MS),
        }
        async with Host(folder, off, quiet=True) as host:
            async with ann(simulator, folder):
                await pair(host, simulator)
                await send_through(host, simulator, 20)
            without = dict(host.environment)
            rates: dict[str, list[float]] = {"on": [], "off": []}
            cpu_ms: dict[str, list[float]] = {"on": [], "off": []}
            for turn in range(rounds):
                for mode in ("on", "off") if turn % 2 else ("off", "on"):
                    await _begin(host, watched, without | (on if mode == "on" else {}), scraped=mode == "on")
                    await send_through(host, simulator, 50)
                    used_s = _cpu_s(host)
                    rates[mode].append(await send_through(host, simulator, sends))
                    cpu_ms[mode].append(round((_cpu_s(host) - used_s) / sends * 1000, 2))
            await _begin(host, watched, without | on, scraped=True)
            before = await _scrapes(host)
            await send_through(host, simulator, day)
            after = await _scrapes(host)
            dropped = await host.metric("whatsapp_telemetry_dropped_total")
    return {
        "meaning": MEANING,
        "sends_per_second": {mode: whole(measured) for mode, measured in rates.items()},
        "cpu_ms_per_message": cpu_ms,
        "on_to_off": ratio(rates["on"], rates["off"]),
        "messages": day,
        "dropped": int(dropped),
        **{name: {"before": before[name], "after": after[name]} for name in before},
    }


def _cpu_s(host: Host) -> float:
    used = host.process.cpu_times()
    return float(used.user + used.system)


async def _begin(host: Host, watched: Watcher, environment: dict[str, str], *, scraped: bool) -> None:
    """A new life of the service, connected; watched or not."""
    watched.tell("REST")
    await host.stop()
    host.environment = environment
    await host.start()
    await host.until(lambda session: session["state"] == "connected")
    if scraped:
        watched.tell(f"SCRAPE {host.url}")


async def _scrapes(host: Host) -> dict[str, float]:
    """Time, size and series of a scrape."""
    took_s = []
    async with aiohttp.ClientSession(host.url, headers=HEADERS, auto_decompress=False) as http:
        for _ in range(SCRAPES):
            begun = time.perf_counter()
            async with http.get("/metrics") as response:
                size = len(await response.read())
            took_s.append(time.perf_counter() - begun)
            await asyncio.sleep(0.05)
        async with http.get("/metrics", headers={"Accept-Encoding": "identity"}) as response:
            lines = (await response.text()).splitlines()
    return {
        "scrape_ms": round(statistics.median(took_s) * 1000, 1),
        "scrape_bytes": size,
        "series": sum(not line.startswith("#") for line in lines),
    }

"""What `beacon doctor` looks at before a start: each check ends in one sentence and what to do about it."""

import asyncio
import os
import platform
import shutil
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from service.app import EngineCommand
from service.clock import SystemClock
from service.config import LOOPBACK, Settings
from service.datadir import DataDir
from service.dial import dial
from service.engine.metrics import EngineMetrics
from service.engine.process import EngineProcess
from service.errors import DataDirInUse, DataDirUnusable, EngineError
from service.telemetry.registry import distribution_version

WHATSAPP: Final = ("web.whatsapp.com", 443)
REACH_S: Final = 15.0
DISK_WARN_BYTES: Final = 1 << 30
DISK_FAIL_BYTES: Final = 100 << 20
CLOCK_WARN_S: Final = 120.0
MAX_GREETING_BYTES: Final = 16 * 1024


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was seen, and what to do (empty when nothing)."""

    check: str
    outcome: Outcome
    sentence: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is examined. With `release`, a way to WhatsApp is wanted but not required."""

    settings: Settings
    engine: EngineCommand
    release: bool


async def examine(settings: Settings, *, release: bool, engine: EngineCommand | None = None) -> list[Finding]:
    """Every check, in the order of `CHECKS`; none of them raises for what it looks at."""
    around = Surroundings(settings=settings, engine=engine or EngineCommand(), release=release)
    return [await check(around) for check in CHECKS]


def table(findings: Sequence[Finding]) -> str:
    """The findings for a terminal."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.outcome.value:<5} {finding.check:<10} {finding.sentence}")
        if finding.advice:
            lines.append(f"{'':<16} -> {finding.advice}")
    return "\n".join(lines)


async def _python(_: Surroundings) -> Finding:
    name = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if (3, 11) <= sys.version_info[:2] <= (3, 14):
        return Finding("python", Outcome.OK, f"{name}.")
    return Finding("python", Outcome.WARN, f"{name}; tested are 3.11 to 3.14.", "Use one of these.")


async def _libraries(_: Surroundings) -> Finding:
    versions = ", ".join(
        f"{name} {distribution_version(name)}" for name in ("neonize", "aiohttp", "pydantic")
    )
    try:
        import_module("pylibmagic")  # makes a bundled libmagic known; neonize does not start without one
        import_module("magic")
    except ImportError as error:
        return Finding(
            "libraries",
            Outcome.FAIL,
            f"{versions}; libmagic cannot be loaded ({error}).",
            "Run `make setup` again, or install libmagic (Debian: libmagic1).",
        )
    return Finding("libraries", Outcome.OK, f"{versions}; libmagic loads.")


async def _data_dir(around: Surroundings) -> Finding:
    path = around.settings.data_dir.absolute()
    if not path.exists():
        parent = _nearest(path)
        if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
            return Finding("data_dir", Outcome.OK, f"{path} can be made at the first start.")
        return Finding(
            "data_dir",
            Outcome.FAIL,
            f"{path} cannot be made: {parent} is not a folder that this user may write.",
            "Mend the permissions, or set DATA_DIR.",
        )
    try:
        with DataDir(path):
            return Finding("data_dir", Outcome.OK, f"{path} is writable and nobody else holds it.")
    except DataDirInUse as error:
        return Finding("data_dir", Outcome.WARN, f"{error}.", "Fine if that is the running service.")
    except DataDirUnusable as error:
        return Finding("data_dir", Outcome.FAIL, f"{error}.", "Mend the permissions, or set DATA_DIR.")


def _nearest(path: Path) -> Path:
    """The path itself, or the nearest one above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())


async def _disk(around: Surroundings) -> Finding:
    place = _nearest(around.settings.data_dir.absolute())
    free = shutil.disk_usage(place).free
    sentence = f"{free / (1 << 20):,.0f} MiB free at {place}."
    if free >= DISK_WARN_BYTES:
        return Finding("disk", Outcome.OK, sentence)
    outcome = Outcome.WARN if free >= DISK_FAIL_BYTES else Outcome.FAIL
    return Finding("disk", outcome, sentence, "Free some: a full disk refuses new messages.")


async def _whatsapp(around: Surroundings) -> Finding:
    host, port = WHATSAPP
    secret = around.settings.whatsapp_proxy
    way = "through WHATSAPP_PROXY" if secret else "directly"
    try:
        async with asyncio.timeout(REACH_S):
            skew_s = await _greet(host, port, proxy=secret.get_secret_value() if secret else None)
    except (OSError, TimeoutError) as error:
        reason = str(error) or f"no answer within {REACH_S:g} s"
        return Finding(
            "whatsapp",
            Outcome.WARN if around.release else Outcome.FAIL,
            f"{host}:{port} cannot be reached {way}: {reason}.",
            "Check network, firewall, WHATSAPP_PROXY and certificates; Beacon starts and waits meanwhile.",
        )
    if skew_s is not None and abs(skew_s) > CLOCK_WARN_S:
        return Finding(
            "whatsapp",
            Outcome.WARN,
            f"{host}:{port} answers {way}, but this clock is off by {skew_s:+.0f} s.",
            "Set the clock (NTP).",
        )
    return Finding("whatsapp", Outcome.OK, f"{host}:{port} answers {way}, its certificate is good.")


async def _greet(host: str, port: int, *, proxy: str | None) -> float | None:
    """Seconds that our clock is ahead of the server's, as far as it says a date. Raises OSError."""
    reader, writer = await dial(host, port, proxy=proxy)
    try:
        await writer.start_tls(ssl.create_default_context(), server_hostname=host)
        writer.write(f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        headers = await reader.read(MAX_GREETING_BYTES)
    finally:
        writer.close()
    for line in headers.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "date" and (said := parsedate_tz(value)) is not None:
            return time.time() - mktime_tz(said)
    return None


async def _database(around: Surroundings) -> Finding:
    secret = around.settings.database_url
    if secret is None:
        return Finding("database", Outcome.OK, "DATABASE_URL is not set; the queue is in DATA_DIR.")
    try:
        parts = urlsplit(secret.get_secret_value())
        host, port = parts.hostname or LOOPBACK, parts.port or 5432
    except ValueError:
        return Finding(
            "database", Outcome.FAIL, "DATABASE_URL is not a URL.", "postgres://USER:PASSWORD@HOST/NAME"
        )
    try:
        async with asyncio.timeout(REACH_S):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
    except (OSError, TimeoutError) as error:
        return Finding(
            "database",
            Outcome.FAIL,
            f"{host}:{port} of DATABASE_URL cannot be reached: {error or 'no answer'}.",
            "Check the address and the firewall.",
        )
    return Finding("database", Outcome.OK, f"{host}:{port} of DATABASE_URL takes connections.")


async def _port(around: Surroundings) -> Finding:
    host, port = around.settings.listen_on, around.settings.port
    where = f"HOST={host or '*'} PORT={port}"
    try:
        server = await asyncio.start_server(lambda *_: None, host, port)
    except (OSError, socket.gaierror) as error:
        return Finding(
            "port",
            Outcome.FAIL,
            f"{where} cannot be bound: {error.strerror or error}.",
            "Stop what listens there, or set PORT.",
        )
    server.close()
    await server.wait_closed()
    return Finding("port", Outcome.OK, f"{where} is free.")


async def _engine(around: Surroundings) -> Finding:
    process = EngineProcess(
        entry=around.engine.entry,
        environment=around.engine.full_environment(),
        on_event=lambda _: None,
        metrics=EngineMetrics(CollectorRegistry(), around.settings.account),
        clock=SystemClock(),
    )
    try:
        hello = await process.start()
    except EngineError as error:
        return Finding(
            "engine", Outcome.FAIL, f"WhatsApp's client does not start: {error}.", "Run `make setup` again."
        )
    await process.stop()
    return Finding(
        "engine",
        Outcome.OK,
        f"WhatsApp's client starts (neonize {hello.neonize}, whatsmeow {hello.whatsmeow}).",
    )


CHECKS: Final[tuple[Callable[[Surroundings], Awaitable[Finding]], ...]] = (
    _python,
    _libraries,
    _data_dir,
    _disk,
    _whatsapp,
    _database,
    _port,
    _engine,
)

"""What `beacon doctor` looks at before a start: each check ends in one sentence and what to do about it."""

import asyncio
import errno
import os
import platform
import shutil
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from service.assembly import EngineCommand
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
RUNNING: Final = "Fine if that is the running service; a second one would not start."


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check saw, and what to do (empty when nothing)."""

    outcome: Outcome
    sentence: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is examined. With `release`, a way to WhatsApp is wanted but not required."""

    settings: Settings
    engine: EngineCommand
    release: bool


async def examine(
    settings: Settings, *, release: bool, engine: EngineCommand | None = None
) -> dict[str, Finding]:
    """What every check of `CHECKS` finds, by its name; none of them raises for what it looks at."""
    around = Surroundings(settings=settings, engine=engine or EngineCommand(), release=release)
    return {name: await check(around) for name, check in CHECKS.items()}


def table(findings: Mapping[str, Finding]) -> str:
    """The findings for a terminal."""
    lines = []
    for name, finding in findings.items():
        lines.append(f"{finding.outcome.value:<5} {name:<10} {finding.sentence}")
        if finding.advice:
            lines.append(f"{'':<16} -> {finding.advice}")
    return "\n".join(lines)


async def _python(_: Surroundings) -> Finding:
    name = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if (3, 11) <= sys.version_info[:2] <= (3, 14):
        return Finding(Outcome.OK, f"{name}.")
    return Finding(Outcome.WARN, f"{name}; tested are 3.11 to 3.14.", "Use one of these.")


async def _libraries(_: Surroundings) -> Finding:
    versions = ", ".join(
        f"{name} {distribution_version(name)}" for name in ("neonize", "aiohttp", "pydantic")
    )
    try:
        import_module("pylibmagic")  # makes a bundled libmagic known; neonize does not start without one
        import_module("magic")
    except ImportError as error:
        return Finding(
            Outcome.FAIL,
            f"{versions}; libmagic cannot be loaded ({error}).",
            "Run `make setup` again, or install libmagic (Debian: libmagic1).",
        )
    return Finding(Outcome.OK, f"{versions}; libmagic loads.")


async def _data_dir(around: Surroundings) -> Finding:
    path = around.settings.data_dir.absolute()
    if not path.exists():
        parent = _nearest(path)
        if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
            return Finding(Outcome.OK, f"{path} can be made at the first start.")
        return Finding(
            Outcome.FAIL,
            f"{path} cannot be made: {parent} is not a folder that this user may write.",
            "Mend the permissions, or set DATA_DIR.",
        )
    try:
        with DataDir(path):
            return Finding(Outcome.OK, f"{path} is writable and nobody else holds it.")
    except DataDirInUse as error:
        return Finding(Outcome.WARN, f"{error}.", RUNNING)
    except DataDirUnusable as error:
        return Finding(Outcome.FAIL, f"{error}.", "Mend the permissions, or set DATA_DIR.")


def _is_held(path: Path) -> bool:
    """Whether another process has this DATA_DIR. Makes no folder."""
    if not path.exists():
        return False
    try:
        with DataDir(path):
            return False
    except DataDirInUse:
        return True
    except DataDirUnusable:
        return False


def _nearest(path: Path) -> Path:
    """The path itself, or the nearest one above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())


async def _disk(around: Surroundings) -> Finding:
    place = _nearest(around.settings.data_dir.absolute())
    free = shutil.disk_usage(place).free
    sentence = f"{free / (1 << 20):,.0f} MiB free at {place}."
    if free >= DISK_WARN_BYTES:
        return Finding(Outcome.OK, sentence)
    outcome = Outcome.WARN if free >= DISK_FAIL_BYTES else Outcome.FAIL
    return Finding(outcome, sentence, "Free some: a full disk refuses new messages.")


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
            Outcome.WARN if around.release else Outcome.FAIL,
            f"{host}:{port} cannot be reached {way}: {reason}.",
            "Check network, firewall, WHATSAPP_PROXY and certificates; Beacon starts and waits meanwhile.",
        )
    if skew_s is not None and abs(skew_s) > CLOCK_WARN_S:
        return Finding(
            Outcome.WARN,
            f"{host}:{port} answers {way}, but this clock is off by {skew_s:+.0f} s.",
            "Set the clock (NTP).",
        )
    return Finding(Outcome.OK, f"{host}:{port} answers {way}, its certificate is good.")


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
        return Finding(Outcome.OK, "DATABASE_URL is not set; the queue is in DATA_DIR.")
    try:
        parts = urlsplit(secret.get_secret_value())
        host, port = parts.hostname or LOOPBACK, parts.port or 5432
    except ValueError:
        return Finding(Outcome.FAIL, "DATABASE_URL is not a URL.", "postgres://USER:PASSWORD@HOST/NAME")
    try:
        async with asyncio.timeout(REACH_S):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
    except (OSError, TimeoutError) as error:
        return Finding(
            Outcome.FAIL,
            f"{host}:{port} of DATABASE_URL cannot be reached: {error or 'no answer'}.",
            "Check the address and the firewall.",
        )
    return Finding(Outcome.OK, f"{host}:{port} of DATABASE_URL takes connections.")


async def _port(around: Surroundings) -> Finding:
    host, port = around.settings.listen_on, around.settings.port
    where = f"HOST={host or '*'} PORT={port}"
    try:
        server = await asyncio.start_server(lambda *_: None, host, port)
    except OSError as error:
        ours = error.errno == errno.EADDRINUSE and _is_held(around.settings.data_dir)
        return Finding(
            Outcome.WARN if ours else Outcome.FAIL,
            f"{where} cannot be bound: {error.strerror or error}.",
            RUNNING if ours else "Stop what listens there, or set PORT.",
        )
    server.close()
    await server.wait_closed()
    return Finding(Outcome.OK, f"{where} is free.")


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
        return Finding(Outcome.FAIL, f"WhatsApp's client does not start: {error}.", "Run `make setup` again.")
    await process.stop()
    return Finding(
        Outcome.OK,
        f"WhatsApp's client starts (neonize {hello.neonize}, whatsmeow {hello.whatsmeow}).",
    )


CHECKS: Final[Mapping[str, Callable[[Surroundings], Awaitable[Finding]]]] = {
    "python": _python,
    "libraries": _libraries,
    "data_dir": _data_dir,
    "disk": _disk,
    "whatsapp": _whatsapp,
    "database": _database,
    "port": _port,
    "engine": _engine,
}

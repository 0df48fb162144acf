"""Runs the components and takes them down in order.

Order of a start: folder, log, queue, HTTP, and only then WhatsApp, so that health can be asked and
messages are accepted before a connection exists. Order of a stop: readiness, new sends, the send in
flight, the engine, answers to what it took, HTTP, traces and metrics to where they are pushed, the queue.
"""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from types import FrameType
from typing import Any

import structlog
import uvloop
from aiohttp import web

from service.assembly import EngineCommand, Parts, assembled
from service.config import LOOPBACK, Settings
from service.datadir import DataDir
from service.errors import AddressUnusable
from service.telemetry import logging
from service.terminal import Terminal

log = structlog.get_logger(__name__)

SEND_GRACE_S = 8.0
"""How long a stop waits for sends on their way. With what follows (the engine, the last backup, answers,
the last push) a stop ends within 25 s: Heroku kills 30 s after its SIGTERM."""

ENGINE_GRACE_S = 13.0
"""For the engine, the last backup and the lease; each has a limit of its own, and seldom takes a second."""

ANSWERS_GRACE_S = 1.0
"""For commands that the engine took until it ended; their answers are kept in the queue."""

FLUSH_S = 3.0
EX_SOFTWARE = 70
"""A component ended with an error that nobody expected: the process manager should start us again."""


def run(settings: Settings, *, engine: EngineCommand | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Raises StartError, StoreError, PluginError."""
    logging.configure(settings.log_format, settings.log_level)
    with DataDir(settings.data_dir) as data:
        try:
            uvloop.run(_serve(settings, data, engine or EngineCommand()))
        except ExceptionGroup as crash:
            log.critical("service.crashed", exc_info=crash)
            return EX_SOFTWARE
    return 0


async def _serve(settings: Settings, data: DataDir, engine: EngineCommand) -> None:
    stop = Stop(asyncio.get_running_loop())
    with stop:
        async with assembled(settings, data, engine) as parts:
            for note in parts.health.notes:
                log.warning("service.note", note=note)
            await Service(parts).run_until(stop)


class Stop:
    """SIGTERM and SIGINT: the first asks for a graceful stop, a second one skips to the end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._signal, number)

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.remove_signal_handler(number)
            signal.signal(number, _already_stopping)

    def _signal(self, number: signal.Signals) -> None:
        log.info("service.signal", signal=number.name, hurry=self.asked.is_set())
        (self.hurry if self.asked.is_set() else self.asked).set()


def _already_stopping(_: int, __: FrameType | None) -> None:
    """The end is near; a third Ctrl-C must not leave a traceback."""


@dataclass(frozen=True, slots=True)
class Service:
    """The components, running."""

    parts: Parts

    async def run_until(self, stop: Stop) -> None:
        """Listen, run every component, and stop in order when asked.

        Raises AddressUnusable. A component that ends with an error ends the service with that error.
        """
        runner = web.AppRunner(self.parts.http, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await self._listen(runner)
            async with asyncio.TaskGroup() as tasks:
                supervising = tasks.create_task(self.parts.supervisor.run(), name="supervisor")
                dispatching = tasks.create_task(self.parts.dispatcher.run(), name="dispatcher")
                answering = tasks.create_task(self.parts.bot.run(), name="bot")
                chores = [tasks.create_task(chore(), name=name) for name, chore in self.parts.chores.items()]
                await stop.asked.wait()
                self.parts.health.shutting_down = True
                await _within(SEND_GRACE_S, self.parts.dispatcher.stop(), unless=stop.hurry, step="sends")
                await _within(ENGINE_GRACE_S, self.parts.supervisor.stop(), unless=stop.hurry, step="engine")
                self.parts.bot.stop()  # not before: WhatsApp tells nobody else what the engine has taken
                await _within(ANSWERS_GRACE_S, _ended(answering), unless=stop.hurry, step="answers")
                for task in (answering, dispatching, supervising, *chores):
                    task.cancel()
        finally:
            await runner.cleanup()
            await self.parts.push.close(timeout_s=FLUSH_S)
            log.info("service.stopped")

    async def _listen(self, runner: web.AppRunner) -> None:
        host, port = self.parts.settings.listen_on, self.parts.settings.port
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise AddressUnusable(
                f"HOST={host or '*'} PORT={port}: must be a free address of this machine ({error.strerror})"
            ) from error
        url = f"http://{host or LOOPBACK}:{runner.addresses[0][1]}/"
        log.info("service.listening", url=url)
        person = Terminal(sys.stdout)
        person.welcome(url=url, token_needed=self.parts.settings.api_token is not None)
        self.parts.supervisor.subscribe(person.show)


async def _ended(task: asyncio.Task[None]) -> None:
    await asyncio.wait({task})


async def _within(
    patience_s: float, work: Coroutine[Any, Any, None], *, unless: asyncio.Event, step: str
) -> None:
    """Do this part of a stop, but not for ever, and not when somebody is in a hurry."""
    doing, hurried = asyncio.create_task(work), asyncio.create_task(unless.wait())
    await asyncio.wait({doing, hurried}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if doing.done():
        doing.result()
        return
    doing.cancel()
    log.warning("service.stop_cut_short", step=step, hurry=unless.is_set())

"""An engine that is started while WhatsApp cannot be reached, so that only the login is left when it can.

Starting one takes one to three seconds, most of them Python importing neonize; an outage is long enough
for that.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from service.engine.protocol import AnyEvent, Hello
from service.errors import EngineStartFailed
from service.reconnect.ports import Engine

log = structlog.get_logger(__name__)

Spawn = Callable[[Callable[[AnyEvent], None]], Engine]


@dataclass(slots=True)
class _Kept:
    process: Engine = field(init=False)
    hello: Hello | None = None
    taken: bool = False
    task: asyncio.Task[None] | None = None
    listener: Callable[[AnyEvent], None] | None = None

    def event(self, event: AnyEvent) -> None:
        if self.listener is not None:
            self.listener(event)


class Standby:
    """At most one engine that runs and is not told to connect.

    `changed` is called on the loop when `busy` may have become False.
    """

    def __init__(self, spawn: Spawn, *, changed: Callable[[], None]) -> None:
        self._spawn = spawn
        self._changed = changed
        self._kept: _Kept | None = None
        self._ending = False
        self._failed = False

    @property
    def busy(self) -> bool:
        """It is being started or ended; no other engine may be started meanwhile."""
        return self._kept is not None and (self._ending or self._kept.hello is None)

    def prepare(self, tasks: asyncio.TaskGroup) -> None:
        """Start one, unless there is one, or one has died since the last login: that is for the next
        login to find out, and to be counted."""
        if self._kept is None and not self._failed:
            kept = self._kept = _Kept()
            kept.process = self._spawn(kept.event)
            kept.task = tasks.create_task(self._live(kept), name="standby")
            kept.task.add_done_callback(lambda _: self._gone(kept))

    def take(self, listener: Callable[[AnyEvent], None]) -> tuple[Engine, Hello | None]:
        """The engine for a login and what it said when it started; None for one that is not started yet."""
        assert not self.busy
        self._failed = False
        if (kept := self._kept) is None:
            return self._spawn(listener), None
        self._kept, kept.taken, kept.listener = None, True, listener
        assert kept.task is not None
        kept.task.cancel()
        return kept.process, kept.hello

    def discard(self) -> None:
        """There will be no login soon: end it."""
        if self._kept is not None and not self._ending:
            assert self._kept.task is not None
            self._ending = True
            self._kept.task.cancel()

    async def _live(self, kept: _Kept) -> None:
        try:
            kept.hello = await kept.process.start()
            log.info("connection.engine_prepared", neonize=kept.hello.neonize)
            self._changed()
            report = await kept.process.wait()
        except EngineStartFailed:
            report = await kept.process.wait()
        except asyncio.CancelledError:
            if kept.hello is not None and not kept.taken:
                await kept.process.kill()
            raise
        log.warning("connection.standby_died", cause=report.cause, returncode=report.returncode)
        self._failed = True

    def _gone(self, kept: _Kept) -> None:
        if self._kept is kept:
            self._kept, self._ending = None, False
            self._changed()

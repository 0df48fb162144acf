"""`/api/v1/events`: the live stream (server-sent events), one whole snapshot an event.

A client is told at once, then whenever something changed, at most every `GAP_S`, and every `BEAT_S` when
nothing did, which also tells a page that the stream still lives. Nothing is queued for a client: one that
reads slowly gets the newest snapshot when it is ready, and is dropped when it reads nothing at all.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from aiohttp import web
from aiohttp_sse import EventSourceResponse, sse_response

import service
from service.clock import Clock, rfc3339
from service.web import limits, problem
from service.web.backups import status_out
from service.web.messages import queue_out
from service.web.metrics import WebMetrics
from service.web.ports import Backups, Connection, Outbox
from service.web.schemas import EventOut, ServiceOut
from service.web.session import session_out

GAP_S: Final = 0.2
BEAT_S: Final = 10.0
SEND_TIMEOUT_S: Final = 20.0


class Events:
    """The stream's handler, and what wakes it."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        connection: Connection,
        backups: Backups | None,
        metrics: WebMetrics,
        clock: Clock,
        started_at: float,
    ) -> None:
        self._outbox = outbox
        self._connection = connection
        self._backups = backups
        self._metrics = metrics
        self._clock = clock
        self._started_at = started_at
        self._clients: set[asyncio.Event] = set()
        self._unsubscribe: list[Callable[[], None]] = []
        self._closing = False

    def routes(self) -> list[web.RouteDef]:
        """Where it answers."""
        return [web.get("/api/v1/events", self.get, allow_head=False)]

    async def start(self, _: web.Application) -> None:
        """Begin to listen; an `on_startup` signal."""
        self._unsubscribe = [
            self._outbox.subscribe(self.wake),
            self._connection.subscribe(lambda _: self.wake()),
        ]
        if self._backups is not None:
            self._unsubscribe.append(self._backups.subscribe(self.wake))

    async def stop(self, _: web.Application) -> None:
        """End every stream; an `on_shutdown` signal."""
        self._closing = True
        self.wake()
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Stream until the client is gone or the service stops."""
        if self._closing or len(self._clients) >= limits.STREAMS:
            why = "shutting down" if self._closing else f"already streaming to {limits.STREAMS} clients"
            raise problem.unavailable("no-stream", f"The service is {why}.")
        changed = asyncio.Event()
        self._clients.add(changed)
        self._metrics.streams.inc()
        try:
            async with sse_response(
                request, ping_interval=BEAT_S, send_timeout=SEND_TIMEOUT_S, sep="\n"
            ) as stream:
                request[problem.STREAMING] = True
                with suppress(ConnectionResetError, TimeoutError):  # the client is gone, or reads nothing
                    await self._follow(stream, changed)
        finally:
            self._clients.discard(changed)
            self._metrics.streams.dec()
        return stream

    def snapshot(self) -> EventOut:
        """Everything that the page shows, now."""
        return EventOut(
            at=rfc3339(self._clock.now()),
            service=ServiceOut(version=service.__version__, started_at=rfc3339(self._started_at)),
            session=session_out(self._connection.status),
            queue=queue_out(self._outbox),
            backup=status_out(self._backups),
        )

    def wake(self) -> None:
        """Something that the page shows may have changed."""
        for changed in self._clients:
            changed.set()

    async def _follow(self, stream: EventSourceResponse, changed: asyncio.Event) -> None:
        async with _running(stream.wait()) as (gone,):
            while not (self._closing or gone.done()):
                changed.clear()
                await stream.send(self.snapshot().model_dump_json())
                await _first(gone, self._clock.sleep(GAP_S))
                if not self._closing:
                    await _first(gone, changed.wait(), self._clock.sleep(BEAT_S - GAP_S))


@asynccontextmanager
async def _running(*waits: Coroutine[Any, Any, Any]) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Tasks that do not outlive the block."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _first(gone: asyncio.Task[Any], *waits: Coroutine[Any, Any, Any]) -> None:
    """Wait until the client is gone or one of the others is over."""
    async with _running(*waits) as tasks:
        await asyncio.wait({gone, *tasks}, return_when=asyncio.FIRST_COMPLETED)

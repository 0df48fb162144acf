"""Takes up commands from received messages, one after the other, and answers through the queue.

A message may be handed over twice (WhatsApp delivers at least once). Each answer carries an idempotency
key made of the incoming message and the answer's place in the row, so the queue keeps it once.
"""

import asyncio
import hashlib
import traceback
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

import structlog
from opentelemetry.trace import Span, SpanKind, Tracer

from service.bot.metrics import OTHER, BotMetrics, CommandResult
from service.bot.router import Command, Context, Router, Say
from service.clock import Clock
from service.engine.content import Text
from service.engine.protocol import MessageReceived
from service.errors import BeaconError
from service.queue.address import GROUP_SERVER, LID_SERVER, USER_SERVER, parse_chat
from service.queue.model import Enqueued, NewMessage
from service.telemetry.exemplar import exemplar
from service.telemetry.pseudonym import Pseudonyms
from service.telemetry.within import failed, within

log = structlog.get_logger(__name__)

Enqueue = Callable[[Sequence[NewMessage]], Awaitable[list[Enqueued]]]

ANSWERED: Final = frozenset({USER_SERVER, LID_SERVER, GROUP_SERVER})
"""Servers of chats that a command may come from; broadcasts and channels are none."""

APOLOGY: Final = "Sorry, that went wrong. It has been noted; please try again later."
TOO_SLOW: Final = "Sorry, that took too long. It has been noted; please try again later."
ADMINS_ONLY: Final = "Only this bot's admins may ask for that."


@dataclass(frozen=True, slots=True)
class _Request:
    """A received message that is a command, known or not."""

    message: MessageReceived
    name: str
    text: str


class Bot:
    """Answers commands. `run` is its only task; `receive` may be called from the event loop at any time."""

    def __init__(
        self,
        *,
        router: Router,
        enqueue: Enqueue,
        admins: Collection[str],
        metrics: BotMetrics,
        tracer: Tracer,
        pseudonyms: Pseudonyms,
        clock: Clock,
        waiting_limit: int = 1000,
        timeout_s: float = 30.0,
    ) -> None:
        """`admins` are phone numbers in digits. A command has `timeout_s` until it is given up."""
        self._router = router
        self._enqueue = enqueue
        self._admins = frozenset(admins)
        self._metrics = metrics
        self._tracer = tracer
        self._pseudonyms = pseudonyms
        self._clock = clock
        self._waiting_limit = waiting_limit
        self._timeout_s = timeout_s
        self._inbox: asyncio.Queue[_Request | None] = asyncio.Queue()
        self._stopping = False

    def receive(self, message: MessageReceived) -> None:
        """Take up a message if it is a command from somebody else. Never blocks, never raises."""
        if message.from_me or self._stopping or _server(message.chat) not in ANSWERED:
            return
        parsed = self._router.parse(message.text.strip())
        if parsed is None:
            return
        if self._inbox.qsize() >= self._waiting_limit:
            self._metrics.dropped.inc()
            log.warning("command.dropped", chat=self._pseudonyms.chat(message.chat))
            return
        self._inbox.put_nowait(_Request(message, *parsed))
        self._metrics.waiting.set(self._inbox.qsize())

    async def run(self) -> None:
        """Answer commands until `stop`; those that wait by then are still answered."""
        while (request := await self._inbox.get()) is not None:
            self._metrics.waiting.set(self._inbox.qsize())
            await self._answer(request)

    def stop(self) -> None:
        """Take up nothing more; `run` ends when what waits has been answered."""
        self._stopping = True
        self._inbox.put_nowait(None)

    async def _answer(self, request: _Request) -> None:
        command = self._router.find(request.name)
        label = command.name if command else OTHER
        place = "group" if request.message.is_group else "direct"
        started = self._clock.monotonic()
        inbound = self._tracer.start_span(
            "process inbound",
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "whatsapp",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.template": place,
                "beacon.bot.command": label,
            },
        )
        with within(inbound) as span:
            result = await self._perform(command, request, span)
            took_s = self._clock.monotonic() - started
            log.info(
                "command.ended", command=label, result=result.value, place=place, took_s=round(took_s, 4)
            )
            self._metrics.results[label, result].inc()
            self._metrics.seconds[label].observe(took_s, exemplar())

    async def _perform(self, command: Command | None, request: _Request, span: Span) -> CommandResult:
        context = self._context(request)
        if command is None:
            if not context.is_group:
                await self._tell(
                    context, f"I don't know that. {self._router.prefix}help shows what I can do."
                )
            return CommandResult.UNKNOWN
        if command.admin and not context.is_admin:
            await self._tell(context, ADMINS_ONLY)
            return CommandResult.REFUSED
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                await command.handler(context)
        except (Exception, asyncio.CancelledError) as error:  # whatever a plugin raises must not end the bot
            if isinstance(error, asyncio.CancelledError) and _being_cancelled():
                raise
            _record(error, command, span)
            late = isinstance(error, TimeoutError) and limit.expired()
            await self._tell(context, TOO_SLOW if late else APOLOGY)
            return CommandResult.TIMED_OUT if late else CommandResult.FAILED
        return CommandResult.ANSWERED

    async def _tell(self, context: Context, text: str) -> None:
        """What the bot says by itself; losing it is noted and hurts nobody."""
        try:
            await context.reply(text)
        except BeaconError as error:
            self._metrics.answers_lost.inc()
            log.warning("answer.lost", error_type=type(error).__name__)

    def _context(self, request: _Request) -> Context:
        message = request.message
        return Context(
            text=request.text,
            args=tuple(request.text.split()),
            chat=message.chat,
            sender=message.sender,
            is_group=message.is_group,
            is_admin=self._is_admin(message),
            say=self._say(message),
        )

    def _say(self, message: MessageReceived) -> Say:
        source = hashlib.sha256("\0".join((message.chat, message.sender, message.id)).encode()).hexdigest()
        answers = count(1)

        async def say(to: str, text: str) -> str:
            chat = to if to == message.chat else parse_chat(to, field="to")
            answer = NewMessage(
                chat=chat, content=Text(text=text), idempotency_key=f"bot-{source}-{next(answers)}"
            )
            (kept,) = await self._enqueue([answer])
            return kept.message.id

        return say

    def _is_admin(self, message: MessageReceived) -> bool:
        """Only phone-number JIDs count: the digits of a LID are not a phone number."""
        for jid in (message.sender_pn, message.sender):
            if jid is not None and _server(jid) == USER_SERVER and jid.partition("@")[0] in self._admins:
                return True
        return False


def _server(jid: str) -> str:
    return jid.rpartition("@")[2]


def _being_cancelled() -> bool:
    """Whether somebody wants this task to end, rather than a plugin having cancelled something of its own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _record(error: BaseException, command: Command, span: Span) -> None:
    """Where it was raised and as what. Never its own words: they may quote what somebody wrote."""
    kind = type(error).__qualname__
    failed(span, kind)
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("command.failed", command=command.name, error_type=kind, frames=frames)

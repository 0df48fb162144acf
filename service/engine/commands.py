"""Commands that wait for their answer, and how long each of them may."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from service.clock import Clock
from service.engine.metrics import CommandKind, CommandResult, EngineMetrics
from service.engine.protocol import AnyCommand, AnyReply, Refused, encode
from service.errors import EngineGone, EngineTimeout, FrameError
from service.telemetry.exemplar import exemplar_of


@dataclass(slots=True)
class _Pending:
    kind: CommandKind
    answer: "asyncio.Future[AnyReply]"
    began: float
    deadline_s: float


class Commands:
    """The commands of one engine. Sends are done one after the other, so the deadline of a send counts
    from when the one before it ended."""

    def __init__(self, *, write: Callable[[bytes], None], metrics: EngineMetrics, clock: Clock) -> None:
        self._write = write
        self._metrics = metrics
        self._clock = clock
        self._last_id = 0
        self._pending: dict[int, _Pending] = {}
        self._unwritten: list[bytes] = []
        self._send_turn_at = 0.0

    async def ask(
        self,
        kind: CommandKind,
        build: Callable[[int], AnyCommand],
        *,
        deadline_s: float,
        traceparent: str | None = None,
    ) -> AnyReply:
        """Give the command that `build` makes with its id, and return the reply.

        Raises EngineGone, EngineTimeout; FrameError, with nothing written, if it does not fit a frame.
        """
        command = build(self._last_id + 1)
        data = encode(command)
        self._last_id = command.id
        began = self._clock.monotonic()
        pending = _Pending(kind, asyncio.get_running_loop().create_future(), began, deadline_s)
        self._pending[command.id] = pending
        self._put(data)
        result = CommandResult.GONE
        try:
            reply = await pending.answer
            result = CommandResult(reply.refusal.value) if isinstance(reply, Refused) else CommandResult.OK
        except EngineTimeout:
            result = CommandResult.TIMEOUT
            raise
        finally:
            self._metrics.commands[kind, result].inc()
            took_s = self._clock.monotonic() - began
            self._metrics.command_seconds[kind].observe(took_s, exemplar_of(traceparent))
        return reply

    def _put(self, data: bytes) -> None:
        """Write it with the other commands of this turn of the event loop: each write wakes the engine, and
        that takes as long as the rest of a command."""
        if not self._unwritten:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unwritten.append(data)

    def _flush(self) -> None:
        data = b"".join(self._unwritten)
        self._unwritten.clear()
        if data:
            self._write(data)  # not drained: few commands are at hand, and a hung engine must not hold us

    def resolve(self, reply: AnyReply) -> None:
        """Hand a reply to whoever waits for it. Raises FrameError for one that nobody asked for."""
        pending = self._pending.pop(reply.id, None)
        if pending is None:
            raise FrameError(f"a reply to command {reply.id}, which does not wait for one")
        if pending.kind is CommandKind.SEND:
            self._send_turn_at = self._clock.monotonic()
        if not pending.answer.done():
            pending.answer.set_result(reply)

    def overdue(self) -> str | None:
        """A sentence about a command past its deadline, whose caller gets EngineTimeout now."""
        now = self._clock.monotonic()
        for pending in self._pending.values():
            is_send = pending.kind is CommandKind.SEND
            since = max(pending.began, self._send_turn_at) if is_send else pending.began
            if now - since > pending.deadline_s:
                sentence = f"{pending.kind.value} was not answered within {pending.deadline_s:g} s"
                if not pending.answer.done():
                    pending.answer.set_exception(EngineTimeout(sentence))
                return sentence
        return None

    def abandon(self, sentence: str) -> None:
        """The engine is gone: everyone who still waits gets EngineGone."""
        for pending in self._pending.values():
            if not pending.answer.done():
                pending.answer.set_exception(EngineGone(sentence))
        self._pending.clear()
        self._unwritten.clear()

"""The engine's side of the conversation: commands in, one send at a time, heartbeats out."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, Protocol

import psutil

from service.engine.notebook import Acknowledged, Notebook
from service.engine.outgoing import Outgoing
from service.engine.protocol import (
    Answered,
    AnyCommand,
    AskServer,
    Connect,
    Connected,
    Done,
    Frame,
    Heartbeat,
    Logout,
    PairCode,
    PairPhone,
    Receipt,
    Refusal,
    Refused,
    Send,
    SendPresence,
    Sent,
    Stop,
    read_command,
)
from service.engine.sends import Sender, Sends
from service.engine.turns import Turns
from service.errors import EngineRefused

log = logging.getLogger("engine.server")

ASK_TIMEOUT_S: Final = 10.0
"""A heartbeat that Go does not answer in this time is not sent, so that the parent sees the hang."""

DISCONNECT_TIMEOUT_S: Final = 2.0
TELL_TIMEOUT_S: Final = 2.0


class Doing(Sender, Protocol):
    """What the server needs of `client.Client`."""

    turns: Turns

    async def connect(self, command: Connect) -> None: ...
    async def pair_phone(self, phone: str) -> str: ...
    async def presence(self, *, available: bool) -> None: ...
    async def ask_server(self) -> bool: ...
    async def logout(self) -> None: ...
    async def state(self) -> tuple[bool, bool]: ...
    async def disconnect(self) -> None: ...
    async def all_told(self) -> None: ...


class Server:
    """Serves one parent until it is told to stop or the parent is gone."""

    def __init__(
        self,
        *,
        client: Callable[[Callable[[Frame], None]], Doing],
        heartbeat_s: float,
        unraisable: Callable[[], int],
    ) -> None:
        self._out = Outgoing()
        self._client = client(self._event)
        self._heartbeat_s = heartbeat_s
        self._unraisable = unraisable
        self._sends = Sends(
            self._client,
            note=self._note_sent,
            tell=lambda _, outcome: self._out.put(outcome),
            told=self._out.hurry,
            fail=self._fail,
        )
        self._beat_now = asyncio.Event()
        self._stopping = False
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._process = psutil.Process()
        self._notebook: Notebook | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hello: Frame) -> int:
        """Talk until the end; the process's exit code. Raises FrameError when the parent talks nonsense."""
        self._out.put(hello)
        for work in (self._read(reader), self._sends.run(), self._beat(), self._out.write_to(writer)):
            self._start(work)
        try:
            return await self._ended
        finally:
            for task in self._tasks:
                task.cancel()
            self._sends.close()

    def terminate(self) -> None:
        """SIGTERM: as Stop, but quick; a second one ends at once."""
        if self._stopping:
            self._end(0)
        else:
            self._start(self._stop(None, within_s=3.0))

    # --- tasks ----------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            if isinstance(error, ConnectionError):
                self._end(0)
            else:
                self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    def _end(self, code: int) -> None:
        if not self._ended.done():
            self._ended.set_result(code)

    # --- commands -------------------------------------------------------------------------------

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while (command := await read_command(reader)) is not None:
            match command:
                case Send():
                    self._sends.accept(command)
                case Stop():
                    self._start(self._stop(command.id, within_s=command.within_s))
                case _:
                    self._start(self._answer(command))
        self._end(0)

    async def _answer(self, command: AnyCommand) -> None:
        try:
            self._out.put(await self._do(command))
        except EngineRefused as refused:
            self._refuse(command, Refusal.FAILED, refused.text)

    async def _do(self, command: AnyCommand) -> Frame:
        match command:
            case Connect(database=database):
                self._notebook = Notebook(Path(database))
                await self._client.connect(command)
            case PairPhone(phone=phone):
                return PairCode(id=command.id, code=await self._client.pair_phone(phone))
            case SendPresence(available=available):
                await self._client.presence(available=available)
            case AskServer():
                return Answered(id=command.id, refused=not await self._client.ask_server())
            case Logout():
                await self._client.logout()
        return Done(id=command.id)

    def _refuse(self, command: AnyCommand, refusal: Refusal, text: str) -> None:
        self._out.put(Refused(id=command.id, refusal=refusal, text=text))

    # --- sends ----------------------------------------------------------------------------------

    def _note_sent(self, command: Send, sent: Sent) -> None:
        self._note(Acknowledged(secret=command.secret, message_id=sent.message_id, timestamp=sent.timestamp))

    def _note(self, note: Acknowledged | Receipt) -> None:
        if self._notebook is not None:
            self._notebook.write(note)

    # --- events and heartbeats --------------------------------------------------------------------

    def _event(self, event: Frame) -> None:
        if isinstance(event, Receipt):
            self._note(event)
            self._sends.tell()
        self._out.put(event)
        if isinstance(event, Connected):
            self._beat_now.set()

    async def _beat(self) -> None:
        while True:
            self._beat_now.clear()
            try:
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    connected, logged_in = await self._client.state()
            except TimeoutError:
                log.error("whatsmeow does not say whether it is connected")  # noqa: TRY400 - no stack to tell
            else:
                self._out.put(self._heartbeat(connected=connected, logged_in=logged_in))
            try:
                async with asyncio.timeout(self._heartbeat_s):
                    await self._beat_now.wait()
            except TimeoutError:
                continue

    def _heartbeat(self, *, connected: bool, logged_in: bool) -> Heartbeat:
        with self._process.oneshot():
            return Heartbeat(
                connected=connected,
                logged_in=logged_in,
                events_queued=len(self._out),
                sends_at_hand=self._sends.at_hand,
                resident_bytes=self._process.memory_info().rss,
                threads=self._process.num_threads(),
                open_fds=self._process.num_fds(),
                unraisable=self._unraisable(),
                turns=dict(self._client.turns.taken),
                turn_overruns=self._client.turns.overruns,
            )

    # --- the end --------------------------------------------------------------------------------

    async def _stop(self, command_id: int | None, *, within_s: float) -> None:
        self._stopping = True
        for wait, limit_s in (
            (self._sends.stop(), within_s),
            (self._client.disconnect(), DISCONNECT_TIMEOUT_S),
            (self._client.all_told(), TELL_TIMEOUT_S),
        ):
            try:
                await asyncio.wait_for(wait, limit_s)
            except TimeoutError:
                log.warning("stopping without waiting any longer")
        if command_id is not None:
            self._out.put(Done(id=command_id))
        try:
            await asyncio.wait_for(self._out.written(), 1.0)
        except TimeoutError:
            log.warning("the parent does not read")
        self._end(0)

"""The parent's side of an engine: spawn it, talk to it, watch it, end it.

The engine ends itself when it is told to. It is ended when it misses its heartbeat, lets a command pass its
deadline or sends what cannot be read: SIGTERM, and SIGKILL if that is not enough. It runs in a session of its
own, so that Ctrl-C in a terminal reaches the parent alone; when the parent is gone, it ends by itself.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Final

import structlog

from service.clock import Clock
from service.engine.commands import Commands
from service.engine.content import AnyContent, Media
from service.engine.exits import ExitCause, ExitReport, cause_of, words_of
from service.engine.metrics import CommandKind, EngineMetrics
from service.engine.pipes import Pipes
from service.engine.protocol import (
    PROTOCOL_VERSION,
    Answered,
    AnyCommand,
    AnyEvent,
    AnyReply,
    AskServer,
    Connect,
    Done,
    Heartbeat,
    Hello,
    Logout,
    PairCode,
    PairPhone,
    Refused,
    Send,
    SendPresence,
    Sent,
    Stop,
    read_answer,
)
from service.engine.uploads import upload_within_s
from service.errors import EngineGone, EngineRefused, EngineStartFailed, EngineTimeout, FrameError

__all__ = ["EngineProcess", "ExitCause", "ExitReport"]

log = structlog.get_logger(__name__)

STOP_WITHIN_S: Final = 8.0
"""How long a stop waits for the send in flight."""

SEND_DEADLINE_S: Final = 90.0
"""How long a send may take, its upload apart; whatsmeow's own limit is 75 s."""

CLOSE_TIMEOUT_S: Final = 1.0
"""How long the pipes of a dead engine may stay open before they are closed here."""

GO_MEMORY: Final = "96MiB"
"""Past this Go collects what an upload left before it takes more; it reads that from its first environment.
Measured with files of 64 MB in turn: at most 280 MiB resident, without it 409 MiB, of which 345 stayed."""

_BEATS_PER_TIMEOUT: Final = 3


class EngineProcess:
    """One engine process. Not reusable: one object is one process.

    `on_event` gets every event in order of arrival, on the loop, and must not block. `entry` is the
    program and its first arguments; `--fd N --heartbeat S` are appended. `session_dsn` is the PostgreSQL that
    has the session, None when that is a file; it goes to the engine over the socket alone.
    """

    def __init__(
        self,
        *,
        entry: Sequence[str],
        environment: Mapping[str, str],
        on_event: Callable[[AnyEvent], None],
        metrics: EngineMetrics,
        clock: Clock,
        session_dsn: str | None = None,
        heartbeat_timeout_s: float = 15.0,
        start_timeout_s: float = 30.0,
        kill_after_s: float = 5.0,
    ) -> None:
        self._entry = tuple(entry)
        self._environment = {"GOMEMLIMIT": GO_MEMORY, **environment}
        self._on_event = on_event
        self._metrics = metrics
        self._clock = clock
        self._session_dsn = session_dsn
        self._heartbeat_timeout_s = heartbeat_timeout_s
        self._start_timeout_s = start_timeout_s
        self._kill_after_s = kill_after_s
        self.hello: Hello | None = None
        self.pid: int | None = None
        self._greeted = asyncio.Event()
        self._condemned = asyncio.Event()
        self._cause: ExitCause | None = None
        self._detail = ""
        self._heartbeat_at = 0.0
        self._beat: Heartbeat | None = None
        self._stop_sent = False
        self._report: ExitReport | None = None
        self._life: asyncio.Task[ExitReport] | None = None

    # --- life -------------------------------------------------------------------------------------

    async def start(self) -> Hello:
        """Spawn the engine and wait for its first frame. Raises EngineStartFailed."""
        if self._life is not None or self._report is not None:
            raise RuntimeError("an EngineProcess starts once")
        began = self._clock.monotonic()
        self._metrics.starts.inc()
        try:
            await self._spawn()
        except OSError as error:
            self._report = self._finish(ExitCause.START_FAILED, None, f"{self._entry[0]}: {error}")
            raise EngineStartFailed(f"the engine cannot be started: {self._report.detail}") from error
        self._life = asyncio.create_task(self._live(), name="engine")
        try:
            await self._first_of(self._greeted.wait(), self.wait(), timeout_s=self._start_timeout_s)
            if self.hello is None:
                late = self._clock.monotonic() - began >= self._start_timeout_s
                within = f"within {self._start_timeout_s:g} s" if late else "before its end"
                self._condemn(ExitCause.START_FAILED, f"no first frame {within}")
                raise EngineStartFailed(f"the engine did not come up: {(await self.wait()).detail}")
        except asyncio.CancelledError:
            await self.kill()
            raise
        took_s = self._clock.monotonic() - began
        self._metrics.start_seconds.observe(took_s)
        log.info("engine.started", pid=self.pid, took_s=round(took_s, 3), whatsmeow=self.hello.whatsmeow)
        return self.hello

    async def _spawn(self) -> None:
        here, there = socket.socketpair()
        self._reader, self._writer = await asyncio.open_unix_connection(sock=here)
        self._commands = Commands(write=self._writer.write, metrics=self._metrics, clock=self._clock)
        self._pipes = Pipes(metrics=self._metrics, clock=self._clock)
        try:
            with there:
                self._transport, _ = await asyncio.get_running_loop().subprocess_exec(
                    lambda: self._pipes,
                    *self._entry,
                    *("--fd", str(there.fileno())),
                    *("--heartbeat", f"{self._heartbeat_timeout_s / _BEATS_PER_TIMEOUT:g}"),
                    stdin=DEVNULL,
                    stdout=PIPE,
                    stderr=PIPE,
                    pass_fds=(there.fileno(),),
                    env=self._environment,
                    start_new_session=True,
                )
        except BaseException:
            self._writer.close()
            raise
        self.pid = self._transport.get_pid()

    async def wait(self) -> ExitReport:
        """Return when the engine has ended, for whatever cause, and nothing of it is left."""
        if self._report is not None:
            return self._report
        if self._life is None:
            raise RuntimeError("the engine was not started")
        return await asyncio.shield(self._life)

    async def stop(self, *, within_s: float = STOP_WITHIN_S) -> ExitReport:
        """Let the send in flight end (for at most `within_s`) and end the engine; always ends.

        A second call, while the first still waits, ends it at once.
        """
        if self._talks and not self._stop_sent:
            self._stop_sent = True
            try:
                await self._commands.ask(
                    CommandKind.STOP, lambda i: Stop(id=i, within_s=within_s), deadline_s=within_s + 5.0
                )
            except (EngineGone, EngineTimeout) as error:
                log.warning("engine.stop_unanswered", pid=self.pid, error=str(error))
            else:
                await self._first_of(self._pipes.exited.wait(), timeout_s=self._kill_after_s)
        return await self.kill()

    async def kill(self) -> ExitReport:
        """SIGTERM, then SIGKILL after `kill_after_s`."""
        if self._life is not None and not self._exited:
            self._condemn(ExitCause.STOPPED, "")
        return await self.wait()

    @property
    def _exited(self) -> bool:
        return self._pipes.exited.is_set()

    @property
    def _talks(self) -> bool:
        return self.hello is not None and not self._condemned.is_set() and self._report is None

    # --- commands ---------------------------------------------------------------------------------

    async def connect(
        self, *, database: Path, device_name: str, proxy: str | None, deadline_s: float = 30.0
    ) -> None:
        """Start connecting; what comes of it is told by events.

        Raises EngineGone, EngineTimeout, EngineRefused, as do all commands.
        """
        await self._done(
            CommandKind.CONNECT,
            lambda i: Connect(
                id=i,
                database=str(database),
                device_name=device_name,
                proxy=proxy,
                dsn=self._session_dsn,
            ),
            deadline_s=deadline_s,
        )

    async def send(
        self,
        *,
        token: int,
        chat: str,
        content: AnyContent,
        file: Path | None,
        secret: bytes,
        behind: int | None,
        traceparent: str | None,
        deadline_s: float = SEND_DEADLINE_S,
    ) -> Sent | Refused:
        """Send one message; `file` holds the bytes that its content names. The deadline counts from when the
        engine's sends before it have ended, and is longer by the time that the file may take.

        Raises EngineGone and EngineTimeout, both with the outcome unknown, and FrameError for a text
        that does not fit a frame, with nothing sent.
        """
        if isinstance(content, Media):
            deadline_s += upload_within_s(content.file.size_bytes)
        reply = await self._ask(
            CommandKind.SEND,
            lambda i: Send(
                id=i,
                token=token,
                chat=chat,
                content=content,
                file=None if file is None else str(file),
                secret=secret,
                behind=behind,
                traceparent=traceparent,
            ),
            deadline_s=deadline_s,
            traceparent=traceparent,
        )
        if isinstance(reply, Sent | Refused):
            return reply
        raise self._misfit(reply)

    async def pair_phone(self, phone: str, *, deadline_s: float = 30.0) -> str:
        """The code that the person types into the phone with that number (digits only)."""
        reply = await self._ask(
            CommandKind.PAIR_PHONE, lambda i: PairPhone(id=i, phone=phone), deadline_s=deadline_s
        )
        match reply:
            case PairCode(code=code):
                return code
            case Refused(text=text):
                raise EngineRefused(text)
        raise self._misfit(reply)

    async def presence(self, *, available: bool, deadline_s: float = 10.0) -> None:
        """Tell WhatsApp whether this device is in use."""
        await self._done(
            CommandKind.PRESENCE, lambda i: SendPresence(id=i, available=available), deadline_s=deadline_s
        )

    async def ask_server(self, *, deadline_s: float = 180.0) -> Answered:
        """Have WhatsApp asked something harmless. EngineRefused: no answer came, which whatsmeow finds after
        75 s, and after 155 s when it had to ask again on another socket."""
        reply = await self._ask(CommandKind.ASK_SERVER, lambda i: AskServer(id=i), deadline_s=deadline_s)
        match reply:
            case Answered():
                return reply
            case Refused(text=text):
                raise EngineRefused(text)
        raise self._misfit(reply)

    async def logout(self, *, deadline_s: float = 30.0) -> None:
        """Unlink the device; the session is gone afterwards."""
        await self._done(CommandKind.LOGOUT, lambda i: Logout(id=i), deadline_s=deadline_s)

    async def _done(
        self, kind: CommandKind, build: Callable[[int], AnyCommand], *, deadline_s: float
    ) -> None:
        match reply := await self._ask(kind, build, deadline_s=deadline_s):
            case Done():
                return
            case Refused(text=text):
                raise EngineRefused(text)
        raise self._misfit(reply)

    async def _ask(
        self,
        kind: CommandKind,
        build: Callable[[int], AnyCommand],
        *,
        deadline_s: float,
        traceparent: str | None = None,
    ) -> AnyReply:
        if not self._talks or self._stop_sent:
            raise EngineGone("the engine is not running")
        return await self._commands.ask(kind, build, deadline_s=deadline_s, traceparent=traceparent)

    def _misfit(self, reply: AnyReply) -> EngineGone:
        sentence = f"{type(reply).__name__} does not answer the command {reply.id}"
        self._condemn(ExitCause.BAD_FRAME, sentence)
        return EngineGone(sentence)

    # --- frames -----------------------------------------------------------------------------------

    async def _read_frames(self) -> None:
        try:
            while (frame := await read_answer(self._reader)) is not None:
                self._take(frame)
        except FrameError as error:
            self._condemn(ExitCause.BAD_FRAME, str(error))
            return
        except Exception:
            log.exception("engine.reader_failed")
            self._condemn(ExitCause.BAD_FRAME, "a frame could not be handled")
            return
        await self._first_of(self._pipes.exited.wait(), timeout_s=self._kill_after_s)
        if not self._exited:
            self._condemn(ExitCause.CRASHED, "it closed its end of the connection and did not exit")

    def _take(self, frame: AnyReply | AnyEvent) -> None:
        if isinstance(frame, AnyReply):
            self._commands.resolve(frame)
            return
        if isinstance(frame, Hello) is not (self.hello is None):
            raise FrameError(f"{type(frame).__name__} came where it may not")
        match frame:
            case Hello():
                self._greet(frame)
            case Heartbeat():
                self._heartbeat_at = self._clock.monotonic()
                self._metrics.beat(frame, before=self._beat)
                self._beat = frame
        self._metrics.event(frame, at=self._clock.now())
        try:
            self._on_event(frame)
        except Exception:
            self._metrics.listener_errors.inc()
            log.exception("engine.listener_failed", kind=type(frame).__name__)

    def _greet(self, hello: Hello) -> None:
        if hello.protocol != PROTOCOL_VERSION:
            raise FrameError(f"protocol {hello.protocol}: only {PROTOCOL_VERSION} is spoken here")
        self.hello = hello
        self._heartbeat_at = self._clock.monotonic()
        self._metrics.hello(hello)
        self._greeted.set()

    # --- watching and ending ----------------------------------------------------------------------

    async def _watch(self) -> None:
        tick_s = min(1.0, self._heartbeat_timeout_s / 5)
        await self._greeted.wait()
        while True:
            before = self._clock.monotonic()
            await self._clock.sleep(tick_s)
            now = self._clock.monotonic()
            if now - before > self._heartbeat_timeout_s / 2:
                continue  # we stood still, not the engine: what it sent meanwhile is read first
            silent_s = now - self._heartbeat_at
            if silent_s > self._heartbeat_timeout_s:
                self._condemn(ExitCause.HEARTBEAT_LOST, f"no heartbeat for {silent_s:.1f} s")
            if sentence := self._commands.overdue():
                self._condemn(ExitCause.COMMAND_OVERDUE, sentence)

    def _condemn(self, cause: ExitCause, detail: str) -> None:
        """Have the engine ended. The first cause is the one that counts."""
        if self._cause is None:
            self._cause, self._detail = cause, detail
            if cause is not ExitCause.STOPPED:
                log.warning("engine.condemned", pid=self.pid, cause=cause.value, detail=detail)
        self._condemned.set()

    async def _live(self) -> ExitReport:
        """Owns the process until it is reaped and everything of it is closed."""
        frames = asyncio.create_task(self._read_frames(), name="engine-frames")
        watch = asyncio.create_task(self._watch(), name="engine-watch")
        try:
            await self._first_of(self._pipes.exited.wait(), self._condemned.wait())
            await self._end_process()
            await self._first_of(self._pipes.closed.wait(), timeout_s=CLOSE_TIMEOUT_S)
            await asyncio.wait({frames}, timeout=CLOSE_TIMEOUT_S)  # what it still said before it ended
        finally:
            frames.cancel()
            watch.cancel()
            self._transport.close()
            self._writer.close()
            await asyncio.wait({frames, watch})
        self._report = self._finish(self._cause, self._transport.get_returncode(), self._detail)
        return self._report

    async def _end_process(self) -> None:
        for end, patience_s in (
            (self._transport.terminate, self._kill_after_s),
            (self._transport.kill, None),
        ):
            if self._exited:
                return
            end()
            await self._first_of(self._pipes.exited.wait(), timeout_s=patience_s)

    def _finish(self, cause: ExitCause | None, returncode: int | None, detail: str) -> ExitReport:
        told = cause_of(returncode) if returncode is not None else ExitCause.START_FAILED
        if cause is None:
            # a kill from outside says nothing about whether it could have started
            started = self.hello is not None or told is ExitCause.KILLED
            cause = told if started else ExitCause.START_FAILED
        elif cause is ExitCause.STOPPED and told is ExitCause.CRASHED:
            cause = told
        words = [] if returncode is None else [words_of(returncode)]
        if words and cause is not ExitCause.STOPPED:
            words.append(self._pipes.last_words)
        report = ExitReport(
            cause=cause, returncode=returncode, detail=": ".join(filter(None, (detail, *words)))
        )
        self._commands.abandon(f"the engine ended ({report.cause.value}): {report.detail}")
        self._metrics.ended(report.cause)
        level = "info" if report.cause is ExitCause.STOPPED else "error"
        getattr(log, level)("engine.ended", pid=self.pid, cause=report.cause.value, detail=report.detail)
        return report

    async def _first_of(self, *waits: Awaitable[object], timeout_s: float | None = None) -> None:
        """Return when one of these is done, or the time is over."""
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        if timeout_s is not None:
            tasks.append(asyncio.ensure_future(self._clock.sleep(timeout_s)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

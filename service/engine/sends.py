"""Sends at hand: made ready on the event loop, and handed to whatsmeow one after the other on a thread.

whatsmeow takes one at a time (send.go, messageSendLock). What is ours of a send, before and after, is done
while another one is under way, so that whatsmeow never waits for us. But it talks to us meanwhile (turns.py),
and then waits for the interpreter; so the event loop looks after several sends at a time, and sleeps between.
"""

import asyncio
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Protocol, TypeAlias

from service.engine.content import AnyContent
from service.engine.lines import sending
from service.engine.outgoing import LINGER_S
from service.engine.protocol import Refusal, Refused, Send, Sent
from service.errors import EngineRefused

log = logging.getLogger("engine.sends")

AT_HAND: Final = 20
"""Sends that may be at hand at once, the one in flight included; more are refused as busy."""

_REMEMBERED: Final = 256

Outcome: TypeAlias = Sent | Refused


class Sender(Protocol):
    """What sends need of `client.Client`."""

    connected: bool

    async def prepare(self, chat: str, content: AnyContent, file: Path | None, secret: bytes) -> Any: ...
    def send(self, prepared: Any) -> tuple[str, float]: ...
    def sent(self, message_id: str | None) -> None: ...


class Sends:
    """Takes Sends and tells the outcome of each. Belongs to the event loop on which `run` runs.

    `note` is called on the thread with each that WhatsApp has, at once. On the event loop, `tell` is called
    with each outcome, `told` after some of them, and `fail` with an error that nobody foresaw.
    """

    def __init__(
        self,
        client: Sender,
        *,
        note: Callable[[Send, Sent], None],
        tell: Callable[[Send, Outcome], None],
        told: Callable[[], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._client = client
        self._note = note
        self._tell = tell
        self._told = told
        self._fail = fail
        self._loop = asyncio.get_running_loop()
        self._accepted: asyncio.Queue[Send] = asyncio.Queue()
        self._prepared: SimpleQueue[tuple[Send, Any] | None] = SimpleQueue()
        self._ended: deque[tuple[Send, Outcome]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._sent: OrderedDict[int, None] = OrderedDict()  # the thread's own
        self._stopping = False
        self.at_hand = 0

    def accept(self, command: Send) -> None:
        """Take it, or refuse it as busy."""
        if self.at_hand >= AT_HAND:
            self._tell(command, _refused(command, Refusal.BUSY, f"{AT_HAND} sends are at hand already"))
            return
        self.at_hand += 1
        self._idle.clear()
        self._accepted.put_nowait(command)

    async def run(self) -> None:
        """Make ready what was accepted, in that order, for ever."""
        threading.Thread(target=self._hand_over_all, name="send", daemon=True).start()
        while True:
            command = await self._accepted.get()
            prepared = await self._prepare(command)
            if isinstance(prepared, Refused):
                self._over(command, prepared)
            else:
                self._prepared.put((command, prepared))

    def tell(self) -> None:
        """Tell the outcomes of which nobody was told yet, before something that follows from them is."""
        while self._ended:
            self._handed_over(*self._ended.popleft())

    async def stop(self) -> None:
        """Hand over nothing more; return when what is in flight has ended."""
        self._stopping = True
        await self._idle.wait()

    def close(self) -> None:
        """Let the thread end, when whatsmeow lets go of it."""
        self._stopping = True
        self._prepared.put(None)

    async def _prepare(self, command: Send) -> Any:
        if (refused := self._no_way(command)) is not None:
            return refused
        file = None if command.file is None else Path(command.file)
        try:
            return await self._client.prepare(command.chat, command.content, file, command.secret)
        except EngineRefused as error:
            return self._not_sent(command, error)

    def _no_way(self, command: Send) -> Refused | None:
        if self._stopping:
            return _refused(command, Refusal.NOT_CONNECTED, "the engine is stopping")
        if not self._client.connected:
            return _refused(command, Refusal.NOT_CONNECTED, "not connected")
        return None

    def _hand_over_all(self) -> None:
        """The thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            while (item := self._prepared.get()) is not None:
                command, prepared = item
                try:
                    self._end(command, self._hand_over(command, prepared))
                except BaseException as error:  # noqa: BLE001 - it ends the engine
                    self._loop.call_soon_threadsafe(self._fail, error)

    def _end(self, command: Send, outcome: Outcome) -> None:
        if isinstance(outcome, Sent):
            self._note(command, outcome)
        self._ended.append((command, outcome))
        if len(self._ended) == 1:  # else the event loop knows that there is something to tell
            self._loop.call_soon_threadsafe(self._tell_soon)

    def _hand_over(self, command: Send, prepared: Any) -> Outcome:
        """On the thread, where it is known how the send before ended."""
        if command.behind is not None and command.behind not in self._sent:
            return _refused(command, Refusal.SKIPPED, "the send before it did not succeed")
        if (refused := self._no_way(command)) is not None:
            return refused
        began = time.monotonic()
        try:
            with sending(command.traceparent):
                message_id, at = self._client.send(prepared)
        except EngineRefused as error:
            return self._not_sent(command, error, time.monotonic() - began)
        self._sent[command.token] = None
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
        return Sent(id=command.id, message_id=message_id, timestamp=at, took_s=time.monotonic() - began)

    @staticmethod
    def _not_sent(command: Send, error: EngineRefused, after_s: float = 0.0) -> Refused:
        span = {"traceparent": command.traceparent}
        log.warning("a message was not sent, after %.3f s", after_s, extra=span)
        return _refused(command, Refusal.FAILED, error.text)

    def _tell_soon(self) -> None:
        self._loop.call_later(LINGER_S, self._tell_all)

    def _tell_all(self) -> None:
        self.tell()
        self._told()

    def _handed_over(self, command: Send, outcome: Outcome) -> None:
        if isinstance(outcome, Sent):
            self._client.sent(outcome.message_id)
        elif outcome.refusal is Refusal.FAILED:
            self._client.sent(None)
        self._over(command, outcome)

    def _over(self, command: Send, outcome: Outcome) -> None:
        self._tell(command, outcome)
        self.at_hand -= 1
        if not self.at_hand:
            self._idle.set()


def _refused(command: Send, refusal: Refusal, text: str) -> Refused:
    return Refused(id=command.id, refusal=refusal, text=text)

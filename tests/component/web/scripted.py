"""A connection and an outbox that do what a test says, where the real ones cannot be made to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from service.errors import BeaconError
from service.queue.model import Enqueued, Message, NewMessage, Page, Query
from service.queue.model import State as MessageState
from service.reconnect.status import Advice, State, Status
from service.web.ports import Outbox

STARTING = Status(
    state=State.STARTING,
    reason="starting",
    sentence="The service is starting.",
    advice=Advice.NOTHING,
    since=1_700_000_000.0,
)
CONNECTED = replace(
    STARTING, state=State.CONNECTED, reason="connected", sentence="Messages go out as they come in."
)
QR_TEXT = "2@" + "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789/+" * 6 + "=,1"
PAIRING = replace(
    STARTING,
    state=State.PAIRING,
    reason="qr_ready",
    sentence="No phone is linked yet; a code is ready to be scanned.",
    advice=Advice.SCAN_QR,
    qr=QR_TEXT,
)
BACKING_OFF = replace(
    STARTING,
    state=State.BACKING_OFF,
    reason="network_unreachable",
    sentence="WhatsApp cannot be reached from this machine.",
    advice=Advice.CHECK_NETWORK,
    attempt=4,
    next_attempt_at=1_700_000_012.0,
)


class ScriptedConnection:
    """A `service.web.ports.Connection` that is moved by `become`."""

    def __init__(self, status: Status = STARTING) -> None:
        self._status = status
        self._listeners: list[Callable[[Status], None]] = []
        self.asked_to_pair: list[str] = []
        self.restarts = 0
        self.asked: list[str] = []
        self.refusal: BeaconError | None = None
        self.pairing_answer: str | BeaconError = "ABCD1234"

    @property
    def status(self) -> Status:
        return self._status

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def become(self, status: Status) -> None:
        self._status = status
        for listener in list(self._listeners):
            listener(status)

    def subscribe(self, listener: Callable[[Status], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def pair_phone(self, phone: str) -> str:
        self.asked_to_pair.append(phone)
        if isinstance(self.pairing_answer, BeaconError):
            raise self.pairing_answer
        return self.pairing_answer

    async def restart(self) -> None:
        self.restarts += 1
        self._ask("restart")

    async def clear(self) -> None:
        self._ask("clear")

    async def logout(self) -> None:
        self._ask("logout")

    async def abort_pairing(self) -> None:
        self._ask("abort_pairing")

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.refusal is not None:
            raise self.refusal


class BrokenOutbox:
    """An outbox whose store fails in the way that is set in `error`; else the real one behind it."""

    def __init__(self, real: Outbox) -> None:
        self._real = real
        self.error: Exception | None = None

    async def enqueue(self, messages: Sequence[NewMessage]) -> list[Enqueued]:
        return await self._or_break().enqueue(messages)

    async def get(self, message_id: str) -> Message | None:
        return await self._or_break().get(message_id)

    async def keep_file(self, data: bytes) -> str:
        return await self._or_break().keep_file(data)

    async def find(self, query: Query) -> Page:
        return await self._or_break().find(query)

    async def cancel(self, message_id: str) -> Message | None:
        return await self._or_break().cancel(message_id)

    async def hold(self, message_id: str) -> Message | None:
        return await self._or_break().hold(message_id)

    async def release(self, message_id: str) -> Message | None:
        return await self._or_break().release(message_id)

    async def requeue(self, message_id: str) -> Message | None:
        return await self._or_break().requeue(message_id)

    async def requeue_dead(self) -> int:
        return await self._or_break().requeue_dead()

    def _or_break(self) -> Outbox:
        if self.error is not None:
            raise self.error
        return self._real

    def counts(self) -> Mapping[MessageState, int]:
        return self._real.counts()

    def oldest_queued_at(self) -> float | None:
        return self._real.oldest_queued_at()

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        return self._real.subscribe(listener)

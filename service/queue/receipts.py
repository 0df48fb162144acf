"""Delivery truth: what receipts say of messages, and the task that writes it down."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import groupby
from typing import Final

import structlog
from opentelemetry.trace import Span, Tracer

from service.clock import Clock
from service.engine.protocol import Receipt, ReceiptKind
from service.queue import spans
from service.queue.address import is_group
from service.queue.metrics import QueueMetrics
from service.queue.model import Message, Receipted, State
from service.queue.persistence import Persistence
from service.queue.store import QueueStore
from service.telemetry.pseudonym import Pseudonyms
from service.telemetry.within import within

log = structlog.get_logger(__name__)

STATES: Final[dict[ReceiptKind, State]] = {
    ReceiptKind.DELIVERED: State.DELIVERED,
    ReceiptKind.INACTIVE: State.DELIVERED,  # the device has it, the app is in the background
    ReceiptKind.READ: State.READ,
    ReceiptKind.PLAYED: State.READ,
}
"""What a kind proves. The others prove nothing of the recipient: RETRY came but could not be read (see
`asks_again`), SENDER, READ_SELF, PLAYED_SELF and PEER are our own devices, SERVER_ERROR and HISTORY_SYNC
are not about delivery."""

UNACKNOWLEDGED: Final = frozenset({State.UNKNOWN, State.QUEUED, State.HELD})
"""Where a message may stand that WhatsApp has although it never said so: a receipt is what tells. (One that
is being sent will be acknowledged; one that is dead or expired has been counted as such.)"""

BUFFER: Final = 10_000
"""Receipts that may wait for the store; a receipt is acknowledged already and does not come again."""

TOGETHER: Final = 64
"""Most receipts handed to the store at a time, to share its commits."""


def proves(receipt: Receipt) -> State | None:
    """The state that the receipt proves for its messages, if any; our own other devices prove none."""
    return None if receipt.from_me else STATES.get(receipt.receipt)


def asks_again(receipt: Receipt) -> bool:
    """Whether a recipient could not read the messages and nobody but the queue can send them again.

    whatsmeow answers from its memory as long as it has one of the message. In a group everybody would
    get the second copy, those too who read the first; there only whatsmeow's own answer helps.
    """
    return (
        receipt.receipt is ReceiptKind.RETRY
        and not receipt.from_me
        and not receipt.resent_by_engine
        and not is_group(receipt.chat)
    )


class Receipts:
    """A bounded buffer of receipts, and the task that hands them to the store in order."""

    def __init__(
        self,
        *,
        store: QueueStore,
        persistence: Persistence,
        on_moved: Callable[[Receipted], None],
        clock: Clock,
        metrics: QueueMetrics,
        tracer: Tracer,
        pseudonyms: Pseudonyms,
    ) -> None:
        self._store = store
        self._persistence = persistence
        self._on_moved = on_moved
        self._clock = clock
        self._metrics = metrics
        self._tracer = tracer
        self._pseudonyms = pseudonyms
        self._buffer: asyncio.Queue[tuple[Receipt, State | None]] = asyncio.Queue(BUFFER)

    def put(self, receipt: Receipt) -> None:
        """Take a receipt; never blocks. When the buffer is full the receipt is lost, which is counted."""
        self._metrics.receipt(receipt.receipt)
        state = proves(receipt)
        if state is None and not asks_again(receipt):
            return
        try:
            self._buffer.put_nowait((receipt, state))
        except asyncio.QueueFull:
            self._metrics.receipt_dropped()
            log.error("queue.receipt_dropped", buffer=BUFFER)  # noqa: TRY400

    async def run(self) -> None:
        """Hand receipts to the store, until cancelled."""
        while True:
            taken = [await self._buffer.get()]
            while len(taken) < TOGETHER and not self._buffer.empty():
                taken.append(self._buffer.get_nowait())
            async with asyncio.TaskGroup() as together:
                for (state, at), alike in groupby(taken, key=_says):
                    receipts = [receipt for receipt, _ in alike]
                    if state is None:
                        together.create_task(self._send_again(receipts))
                    else:
                        together.create_task(self._settle(receipts, state, at=at))
            for _ in taken:
                self._buffer.task_done()

    async def drained(self) -> None:
        """Return once every receipt taken so far has been handed over."""
        await self._buffer.join()

    async def _settle(self, receipts: Sequence[Receipt], state: State, *, at: float) -> None:
        """Receipts that say the same at the same time, in one step of the store."""
        start_ns = time.time_ns()
        whatsapp_ids = [whatsapp_id for receipt in receipts for whatsapp_id in receipt.message_ids]
        moved = await self._persistence.done(
            "receive",
            lambda: self._store.receive(whatsapp_ids, state=state, at=at, now=self._clock.now()),
        )
        by_id = {receipted.message.whatsapp_id: receipted for receipted in moved or ()}
        for receipt in receipts:
            news = [by_id.pop(whatsapp_id) for whatsapp_id in receipt.message_ids if whatsapp_id in by_id]
            if news:
                with self._settling(receipt, [receipted.message for receipted in news], start_ns):
                    for receipted in news:
                        self._tell(receipted)

    async def _send_again(self, receipts: Sequence[Receipt]) -> None:
        for receipt in receipts:
            start_ns = time.time_ns()
            for whatsapp_id in receipt.message_ids:
                message = await self._persistence.done(
                    "resend", partial(self._store.resend, whatsapp_id, now=self._clock.now())
                )
                if message is not None:
                    with self._settling(receipt, [message], start_ns):
                        chat = self._pseudonyms.chat(message.chat)
                        state = message.state.value
                        log.warning("message.asked_again", message=message.id, chat=chat, state=state)

    def _settling(
        self, receipt: Receipt, messages: Sequence[Message], start_ns: int
    ) -> AbstractContextManager[Span]:
        """The span is made when its messages are known: whether it is recorded is for them to say."""
        kind = receipt.receipt.value
        return within(spans.settle(self._tracer, receipt=kind, messages=messages, start_ns=start_ns))

    def _tell(self, receipted: Receipted) -> None:
        message, before = receipted.message, receipted.before
        if before not in STATES.values():
            self._metrics.delivered(delivery_s(message.accepted_at, message.delivered_at, self._clock.now()))
        if before in UNACKNOWLEDGED:
            self._metrics.sent(message, now=self._clock.now())
        log.info(
            f"message.{message.state.value}", message=message.id, chat=self._pseudonyms.chat(message.chat)
        )
        self._on_moved(receipted)


def _says(taken: tuple[Receipt, State | None]) -> tuple[State | None, float]:
    receipt, state = taken
    return state, receipt.timestamp


def delivery_s(accepted_at: float, delivered_at: float | None, now: float) -> float:
    """Seconds from acceptance to delivery. Receipts have whole seconds: the latest moment that fits."""
    return now - accepted_at if delivered_at is None else min(now, delivered_at + 1.0) - accepted_at

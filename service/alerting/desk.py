"""Takes a notification and hands one message for each chat to the queue, all kept or none."""

from collections.abc import Sequence
from typing import Protocol

import structlog
from opentelemetry import trace

from service.alerting.metrics import AlertMetrics, NotificationOutcome
from service.alerting.model import Notification
from service.alerting.rendering import Rendering
from service.clock import Clock
from service.engine.content import Text
from service.errors import InvalidInput, SettingsError, StoreUnavailable
from service.queue.address import parse_chat
from service.queue.model import Enqueued, NewMessage
from service.queue.outbox import MAX_PRIORITY

log = structlog.get_logger(__name__)


class EnqueueFunction(Protocol):
    """`Outbox.enqueue`."""

    async def __call__(self, messages: Sequence[NewMessage]) -> list[Enqueued]:
        """Keep all of them, or none. Raises StoreUnavailable."""


class AlertDesk:
    """Where notifications are handed in. `chats` are phone numbers or JIDs; raises SettingsError."""

    def __init__(
        self,
        *,
        chats: Sequence[str],
        rendering: Rendering,
        enqueue: EnqueueFunction,
        clock: Clock,
        metrics: AlertMetrics,
    ) -> None:
        self._chats = tuple(dict.fromkeys(_checked(chat, at) for at, chat in enumerate(chats, start=1)))
        self._rendering = rendering
        self._enqueue = enqueue
        self._clock = clock
        self.metrics = metrics

    @property
    def chats(self) -> int:
        """How many chats are told."""
        return len(self._chats)

    async def tell(self, notification: Notification) -> list[Enqueued]:
        """One message to each chat, at the front of the queue. News that were told already are not told
        again: then these are the messages of before. Raises StoreUnavailable, StoreFull."""
        rendered = self._rendering.text(notification)
        if rendered.template_failed:
            self.metrics.template_failed()
        now = self._clock.now()
        messages = [
            NewMessage(
                chat=chat,
                content=Text(text=rendered.text),
                priority=MAX_PRIORITY,
                idempotency_key=notification.key(chat, now=now),
            )
            for chat in self._chats
        ]
        try:
            kept = await self._enqueue(messages)
        except StoreUnavailable:
            self.metrics.received(notification.source, NotificationOutcome.REJECTED)
            raise
        new = any(enqueued.created for enqueued in kept)
        outcome = NotificationOutcome.QUEUED if new else NotificationOutcome.DUPLICATE
        self.metrics.received(notification.source, outcome)
        facts = {"firing": len(notification.firing), "resolved": len(notification.resolved)}
        log.info("alerts.received", source=notification.source.value, outcome=outcome.value, **facts)
        trace.get_current_span().set_attributes(
            {"whatsapp.alerts.source": notification.source.value, "whatsapp.alerts.outcome": outcome.value}
        )
        return kept


def _checked(chat: str, at: int) -> str:
    try:
        return parse_chat(chat, field="ALERT_CHATS")
    except InvalidInput as fault:
        raise SettingsError([f"ALERT_CHATS: chat {at}: {fault.sentence}"]) from fault

"""What HTTP needs of the rest of the service; the outbox and the supervisor fit."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from service.queue.model import Enqueued, Message, NewMessage
from service.queue.model import State as MessageState
from service.reconnect.status import Status


class Outbox(Protocol):
    """Where messages go and where their state is asked."""

    async def enqueue(self, messages: Sequence[NewMessage]) -> list[Enqueued]:
        """Keep all of them, durably, or none. Raises StoreUnavailable, StoreFull."""

    async def get(self, message_id: str) -> Message | None:
        """One message by its id. Raises StoreUnavailable."""

    def counts(self) -> Mapping[MessageState, int]:
        """Messages by state, O(1)."""

    def oldest_queued_at(self) -> float | None:
        """When the oldest message that still waits was accepted, Unix seconds, O(1)."""

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` when counts may have changed; the answer ends that."""


class Connection(Protocol):
    """The account's connection to WhatsApp."""

    @property
    def status(self) -> Status:
        """Where it is now."""

    def subscribe(self, listener: Callable[[Status], None]) -> Callable[[], None]:
        """Call `listener` on every new status; the answer ends that."""

    async def pair_phone(self, phone: str) -> str:
        """A pairing code for the phone with this number (digits). Raises EngineError."""

    async def restart(self) -> None:
        """Recycle the engine now."""

    async def clear(self) -> None:
        """Remove the local session and begin pairing anew; the phone still lists the device.

        Raises StoreUnavailable, EngineError.
        """

    async def logout(self) -> None:
        """Unlink this device at WhatsApp and forget the session. Raises EngineError."""

    async def abort_pairing(self) -> None:
        """Stop offering codes until `restart`. Raises EngineError."""

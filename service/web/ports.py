"""What HTTP needs of the rest of the service; the outbox, the supervisor and the desk of the backups fit."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from service.backup.model import Kept
from service.backup.report import BackupStatus, Pruned, Report, Rotated, Verified
from service.queue.model import Enqueued, Message, NewMessage, Page, Query
from service.queue.model import State as MessageState
from service.reconnect.status import Status


class Outbox(Protocol):
    """Where messages go and where their state is asked."""

    async def enqueue(self, messages: Sequence[NewMessage]) -> list[Enqueued]:
        """Keep all of them, durably, or none. Raises InvalidInput, with a field such as `messages[3].to` and
        other messages' faults with it; StoreUnavailable, StoreFull."""

    async def get(self, message_id: str) -> Message | None:
        """One message by its id. Raises StoreUnavailable."""

    async def keep_file(self, data: bytes) -> str:
        """Keep a file before a message names it; its SHA-256 in hex. Raises StoreUnavailable, StoreFull."""

    async def find(self, query: Query) -> Page:
        """Messages, the latest accepted first. Raises StoreUnavailable."""

    async def cancel(self, message_id: str) -> Message | None:
        """Take it back; as it is then, None when it is not kept. Raises StoreUnavailable."""

    async def hold(self, message_id: str) -> Message | None:
        """Let it wait for a person; as it is then, None when it is not kept. Raises StoreUnavailable."""

    async def release(self, message_id: str) -> Message | None:
        """Let a held one go; as it is then, None when it is not kept. Raises StoreUnavailable."""

    async def requeue(self, message_id: str) -> Message | None:
        """Try it again; as it is then, None when it is not kept. Raises StoreUnavailable."""

    async def requeue_dead(self) -> int:
        """Try every dead one again; how many. Raises StoreUnavailable."""

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


class Backups(Protocol):
    """The copies of the session."""

    def status(self) -> BackupStatus:
        """What is known of them, O(1)."""

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call it whenever something begins, gets further or ends; the answer ends that."""

    async def listed(self) -> Sequence[Kept]:
        """All of them, the latest first. Raises VaultUnavailable."""

    async def back_up(self) -> Report:
        """Make one now. Does not raise: the report says how it ended."""

    async def verify(self, sequence: int | None) -> Verified:
        """Check one, the newest for None, as a restore would. Raises BackupError."""

    async def prune(self) -> Pruned:
        """Forget what the rule of retention does not keep. Raises VaultUnavailable."""

    async def rotate_key(self) -> Rotated:
        """Seal the newest with the first key. Raises BackupError."""

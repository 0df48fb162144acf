"""What every queue store promises. One conformance suite checks it on each of them.

All methods are safe to call from many tasks; calls made in one turn of the event loop take effect in
the order made. Times are Unix seconds and are handed in, so that a test can move them. Every method
raises StoreUnavailable (nothing was changed) when the store cannot be used, and StoreFull when the
disk is full.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from service.queue.model import (
    Acquaintance,
    Claim,
    Cooldown,
    Cooling,
    Enqueued,
    Message,
    Moves,
    NewMessage,
    Page,
    Query,
    Receipted,
    SendResult,
    State,
)


class QueueStore(Protocol):
    """Durable messages and their state machine, for one account.

    What moves a message answers it as it is afterwards.
    """

    async def open(self) -> None:
        """Connect, migrate under a lock, read the counts. Raises StoreTooNew."""

    async def close(self) -> None:
        """Finish what is running and release everything."""

    async def enqueue(self, messages: Sequence[NewMessage], *, now: float) -> list[Enqueued]:
        """Keep all of them in one commit that is on disk before this returns, in the order given.

        A message whose idempotency key is already kept is not kept again: the first one is
        answered with `created` false. Keys are free again when retention removes their message.
        """

    async def get(self, message_id: str) -> Message | None:
        """One message by its id."""

    async def find(self, query: Query) -> Page:
        """Messages, the latest accepted first. Every page costs about the same, however deep it lies."""

    async def cancel(self, message_id: str, *, now: float) -> Message | None:
        """`queued` or `held` -> `cancelled`. Anything else stays as it is; None when it is not kept."""

    async def hold(self, message_id: str, *, now: float) -> Message | None:
        """`queued` -> `held`. Anything else stays as it is; None when it is not kept."""

    async def requeue(self, message_id: str, *, now: float) -> Message | None:
        """`held`, `dead` or `expired` -> `queued`, due now, with a new secret. Out of `dead` and `expired`
        its attempts begin anew, and where its time is over it gets DEFAULT_TTL_S. Anything else stays as it
        is; None when it is not kept. It keeps its place in its chat's order."""

    async def requeue_dead(self, *, now: float) -> int:
        """`requeue` for every `dead` message; how many. Long work is cut into many commits."""

    async def keep_file(self, data: bytes, *, now: float) -> str:
        """Keep these bytes, durably, before a message refers to them; their SHA-256 in lower-case hex. Kept
        as long as a message's content names them, and at least an hour."""

    async def file(self, sha256: str) -> bytes | None:
        """Kept bytes, None when they are not kept."""

    async def adopt(self, messages: Sequence[Message], *, now: float) -> int:
        """Take over messages of another store as they are, in the order given, after all that are here.
        One whose id or idempotency key is kept already is left out; so this may be repeated. Claims among
        them are still to be found by `orphans`; claims made later get greater tokens. How many were taken."""

    async def claim(self, *, worker: str, now: float, limit: int = 1, fair: bool = False) -> list[Claim]:
        """Take the next messages that may go out now, at most `limit`, durably `sending` before this returns:
        those that as many calls would have got one by one, in that order.

        Next is: the highest priority, then the earliest accepted, among the heads of all chats; with `fair`
        the earliest accepted (lowest seq) of them whatever its priority. Either costs O(log n). The
        head of a chat is its first live message; a head that is not due, or `unknown`, holds back its
        own chat and no other. One exception: behind messages that the same worker is sending, the
        next of that chat may be claimed too (`Claim.behind`). Expired messages are never claimed;
        those in the way become `expired`.
        """

    async def complete(self, claim: Claim, *, whatsapp_id: str, now: float) -> Message:
        """`sending` -> `sent`, or further where receipts came first. Raises ClaimLost."""

    async def release(self, claim: Claim, *, now: float) -> Message:
        """`sending` -> `queued`, as if it had never been claimed: no attempt burned. Raises ClaimLost."""

    async def postpone(self, claim: Claim, *, until: float, now: float) -> Message:
        """`sending` -> `queued`, not before `until`: it was not its turn. No attempt burned.
        Raises ClaimLost."""

    async def fail(
        self, claim: Claim, *, result: SendResult, error: str, retry_at: float | None, now: float
    ) -> Message:
        """An attempt failed for sure: `queued` until `retry_at`, or `dead` when that is None or the
        attempts are used up. Raises ClaimLost."""

    async def mark_unknown(self, claim: Claim, *, whatsapp_id: str | None, error: str, now: float) -> Message:
        """`sending` -> `unknown`: it may have left. Receipts that came first win. Raises ClaimLost."""

    async def orphans(self, *, worker: str) -> list[Claim]:
        """Claims of workers other than this one: what a killed process left in `sending`."""

    async def unknowns(self) -> list[Message]:
        """Messages in `unknown`, earliest first."""

    async def resolve_unknown(self, message_id: str, *, now: float) -> Message | None:
        """No receipt came in time: `queued` or `held`, as the message's `on_unknown` says, or `dead` when
        the attempts are used up. Anything but `unknown` stays as it is; None when it is not kept."""

    async def receive(
        self, whatsapp_ids: Sequence[str], *, state: State, at: float, now: float
    ) -> list[Receipted]:
        """A receipt of time `at`: move each message with such an id to `delivered` or `read`, never back.

        A receipt of a message that was queued again by `resend` counts, too. Answers the messages that moved.
        Ids that belong to no message yet are remembered for an hour, because a receipt may come before the
        send returns. A claim on a message that moved may still be completed, and changes nothing more then
        than what it adds.
        """

    async def resend(self, whatsapp_id: str, *, now: float) -> Message | None:
        """The recipient could not read it and asks again: `sent` -> `queued` with a new secret, due now, if
        that never happened to it before. Anything else stays as it is; None when no message has this id."""

    async def heard(self, chat: str, *, at: float) -> None:
        """This chat wrote to us at that time."""

    async def acquaintance(self, chat: str) -> Acquaintance:
        """What is known of a chat. `complete` notes when we first sent something there."""

    async def acquaint(self, known: Mapping[str, Acquaintance]) -> None:
        """Take over what another store knows of chats: the earlier first sending, their later word."""

    async def strangers_since(self, at: float) -> int:
        """How many chats that never wrote to us, groups left out, were first written to since that time."""

    async def cool(self, cooling: Cooling, cooldown: Cooldown) -> None:
        """Remember a cool-down, in place of an earlier one."""

    async def cooldowns(self) -> Mapping[Cooling, Cooldown]:
        """Those remembered, past ones too."""

    async def expire(self, *, now: float) -> int:
        """Move every queued message past its `expires_at` to `expired`; how many."""

    async def prune(self, *, now: float) -> int:
        """Forget settled messages past their retention, and receipts remembered for over an hour;
        how many messages."""

    async def next_due(self) -> float | None:
        """When the earliest waiting head becomes due or expires, if any is waiting."""

    def counts(self) -> Mapping[State, int]:
        """Messages by state, kept as numbers while rows move: O(1)."""

    def oldest_queued_at(self) -> float | None:
        """When the oldest message that is still queued was accepted: O(1) at a call."""

    def trouble(self) -> str | None:
        """Why the store could not be used when last tried, None when it could: can messages be kept now."""

    def subscribe(self, listener: Callable[[Moves], None]) -> Callable[[], None]:
        """Call `listener` on the event loop after each commit that moved messages; the answer ends that."""

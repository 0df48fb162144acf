"""What the dispatcher asks of whoever says how fast messages may go out, and what that asks of the store."""

import sys
from collections.abc import Mapping
from typing import Protocol

from service.queue.model import Acquaintance, Cooldown, Cooling, Message


class Remembers(Protocol):
    """The part of `QueueStore` that pacing needs; what it promises is said there."""

    async def heard(self, chat: str, *, at: float) -> None: ...

    async def acquaintance(self, chat: str) -> Acquaintance: ...

    async def strangers_since(self, at: float) -> int: ...

    async def cool(self, cooling: Cooling, cooldown: Cooldown) -> None: ...

    async def cooldowns(self) -> Mapping[Cooling, Cooldown]: ...


class Pacer(Protocol):
    """Says when a message may go out. Asked by one dispatcher, from one event loop."""

    async def open(self) -> None:
        """Read what the store remembers. Call it before the first claim of each time that the account's
        lease is held: another process may have sent meanwhile. Raises StoreUnavailable."""

    def ready_in_s(self) -> float:
        """Seconds after which to ask again whether the account may send anything at all; 0: now."""

    def room(self) -> int:
        """For how many messages at once the account's rate has room now."""

    async def not_before(self, message: Message) -> float | None:
        """When to ask again for this claimed message, Unix seconds; None: it may go out now, at once.

        None is counted as sent. When such a message did not leave after all, asking for it again takes the
        first count back. A time means that it has to be postponed until then; it may have to wait further.
        Raises StoreUnavailable: nothing was decided.
        """

    def held_s(self, since: float, until: float) -> float:
        """Seconds of that past time, Unix time both, in which the whole account was held: what waited then
        was not late."""

    def sent(self, message: Message) -> None:
        """WhatsApp was bothered with it: it was sent, refused, or nobody knows."""

    async def refused(self, message: Message, rule: str) -> None:
        """WhatsApp refused it, by the outcome rule of this name. What follows from that is remembered by the
        store, at once or as soon as it can."""

    async def heard(self, chat: str, alternatives: tuple[str, ...], at: float) -> None:
        """Somebody wrote to us in this chat at that time, Unix seconds. `alternatives` are other JIDs of the
        same person: the LID of a phone number, or the reverse. In a group they are not regarded: who
        writes to a group has not written to us. Remembered by the store, at once or as soon as it can."""

    def sentence(self) -> str | None:
        """What stands still now and until when, in words for people; None when nothing does."""


class Unpaced:
    """Everything may go out at once, and nothing is remembered."""

    async def open(self) -> None:
        pass

    def ready_in_s(self) -> float:
        return 0.0

    def room(self) -> int:
        return sys.maxsize

    async def not_before(self, message: Message) -> float | None:  # noqa: ARG002
        return None

    def held_s(self, since: float, until: float) -> float:  # noqa: ARG002
        return 0.0

    def sent(self, message: Message) -> None:
        pass

    async def refused(self, message: Message, rule: str) -> None:
        pass

    async def heard(self, chat: str, alternatives: tuple[str, ...], at: float) -> None:
        pass

    def sentence(self) -> str | None:
        return None

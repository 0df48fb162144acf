"""Which messages whatsmeow can still send again by itself when a recipient's device asks.

It keeps the last 256 it began to send, in memory (retry.go, recentMessagesSize). This is the same list, by
what the client can see of it: an attempt that ended without an id takes its place all the same.
"""

from collections import deque
from typing import Final

SIZE: Final = 256


class Recent:
    """The ids of the last messages that this engine sent."""

    def __init__(self) -> None:
        self._ids: deque[str | None] = deque(maxlen=SIZE)

    def add(self, message_id: str | None) -> None:
        """An attempt is over, under this id if it has one."""
        self._ids.append(message_id)

    def forget(self, message_id: str) -> None:
        """whatsmeow could not send it again."""
        self._ids = deque((None if known == message_id else known for known in self._ids), maxlen=SIZE)

    def holds(self, message_ids: tuple[str, ...]) -> bool:
        """Whether whatsmeow still has all of them."""
        return all(message_id in self._ids for message_id in message_ids)

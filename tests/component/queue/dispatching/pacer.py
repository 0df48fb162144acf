"""A pacer that says what a test wants it to say, and remembers what it was told."""

import sys

from service.errors import StoreUnavailable
from service.queue.model import Message
from service.queue.pace.contract import Unpaced


class ScriptedPacer(Unpaced):
    """Lets everything go at once until told otherwise."""

    def __init__(self) -> None:
        self.closed_s = 0.0
        self.leaves_room_for = sys.maxsize
        self.store_is_away = False
        self.until: dict[str, float] = {}
        self.opened = 0
        self.asked: list[str] = []
        self.told: list[tuple[str, str]] = []

    async def open(self) -> None:
        self.opened += 1

    def ready_in_s(self) -> float:
        return self.closed_s

    def room(self) -> int:
        return self.leaves_room_for

    async def not_before(self, message: Message) -> float | None:
        if self.store_is_away:
            raise StoreUnavailable("the test took it away")
        self.asked.append(message.id)
        return self.until.get(message.chat)

    def sent(self, message: Message) -> None:
        self.told.append((message.id, "sent"))

    async def refused(self, message: Message, rule: str) -> None:
        self.told.append((message.id, rule))

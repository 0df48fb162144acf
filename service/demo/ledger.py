"""What was accepted and what people's clients decrypted, side by side."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from service.demo.host import Host
from service.demo.people import Contact
from service.errors import SimulatorError

DELIVERY_S: Final = 120.0


@dataclass
class Ledger:
    """Counts by text: every message of a check says something that no other one says."""

    people: dict[str, Contact] = field(default_factory=dict)
    accepted: dict[str, list[str]] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def on_heard(self) -> None:
        """A client decrypted something."""
        self.heard.set()

    async def post(self, host: Host, names: Sequence[str]) -> None:
        """Send one message to each of these people, as one request."""
        messages, texts = [], []
        for number, name in enumerate(names, start=len(self.ids) + 1):
            texts.append((name, f"message {number} for {name}"))
            messages.append({"to": self.people[name].phone, "text": texts[-1][1]})
        self.ids += await host.post(messages)
        for name, text in texts:
            self.accepted.setdefault(name, []).append(text)

    @property
    def delivered(self) -> int:
        """How many of the accepted messages were decrypted at least once."""
        return sum(len(set(self._arrived(name))) for name in self.accepted)

    @property
    def duplicates(self) -> int:
        """How often one was decrypted again."""
        return sum(sum(Counter(self._arrived(name)).values()) for name in self.accepted) - self.delivered

    @property
    def out_of_order(self) -> int:
        """How many were first decrypted after a message of the same chat that was accepted later."""
        late = 0
        for name, texts in self.accepted.items():
            position = {text: index for index, text in enumerate(texts)}
            highest = -1
            for text in dict.fromkeys(self._arrived(name)):
                late += position[text] < highest
                highest = max(highest, position[text])
        return late

    async def until_delivered(self, count: int) -> None:
        """Wait until that many were decrypted. Raises SimulatorError when they do not come."""
        try:
            async with asyncio.timeout(DELIVERY_S):
                while self.delivered < count:
                    self.heard.clear()
                    await self.heard.wait()
        except TimeoutError as error:
            raise SimulatorError(
                f"{self.delivered} of {count} messages arrived within {DELIVERY_S:.0f} s"
            ) from error

    def _arrived(self, name: str) -> list[str]:
        expected = set(self.accepted[name])
        return [text for text in self.people[name].inbox if text in expected]

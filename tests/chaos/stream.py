"""People's programs: each hands in messages for one chat, one request after the other, until accepted."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from service.demo.ledger import Ledger
from service.errors import SimulatorError

BETWEEN_S: Final = (0.0, 0.15)
BATCH: Final = 4
BATCHES: Final = 0.2
"""Which share of the requests is a batch."""

AHEAD: Final = 100
"""Accepted messages that have not arrived, from which on a program waits: what piles up must also arrive."""

AGAIN_S: Final = 0.1
PATIENCE_S: Final = 15.0
LATER: Final = frozenset({429, 503})


@dataclass
class Stream:
    """Messages for one chat. What got no answer, or 503, is handed in again under the same keys."""

    name: str
    http: aiohttp.ClientSession
    ledger: Ledger
    rng: random.Random
    between_s: tuple[float, float] = BETWEEN_S
    ahead: int = AHEAD
    number: int = 0
    repeated: int = 0
    """Requests that were made again."""
    known: int = 0
    """Messages that turned out to be kept already when they were handed in again."""
    refusals: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """Every answer that asked to come again: status and problem."""

    async def run(self, stop: asyncio.Event) -> None:
        """Hand in messages until told to stop; what was begun is accepted before this returns."""
        while not stop.is_set():
            count = self.rng.randint(2, BATCH) if self.rng.random() < BATCHES else 1
            while self._on_their_way > self.ahead and not stop.is_set():
                await asyncio.sleep(AGAIN_S)
            await self._hand_in(count)
            await asyncio.sleep(self.rng.uniform(*self.between_s))

    @property
    def _on_their_way(self) -> int:
        return self.number - len(self.ledger.people[self.name].inbox)

    async def _hand_in(self, count: int) -> None:
        numbers = range(self.number + 1, self.number + 1 + count)
        self.number += count
        texts = [f"{self.name}-{number}" for number in numbers]
        phone = self.ledger.people[self.name].phone
        messages = [{"to": phone, "text": text, "idempotency_key": text} for text in texts]
        answers = await self._until_accepted({"messages": messages})
        self.known += sum(not answer["created"] for answer in answers)
        self.ledger.ids += [answer["id"] for answer in answers]
        self.ledger.accepted.setdefault(self.name, []).extend(texts)

    async def _until_accepted(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        while True:
            try:
                async with self.http.post(
                    "/api/v1/messages", json=body, timeout=aiohttp.ClientTimeout(total=PATIENCE_S)
                ) as response:
                    answer = await response.json(content_type=None)
                    if response.status == 202:
                        messages: list[dict[str, Any]] = answer["messages"]
                        return messages
                    if response.status not in LATER:
                        raise SimulatorError(f"the service answered {response.status}: {answer}")
                    self.refusals.append((response.status, answer))
            except (aiohttp.ClientError, TimeoutError):
                pass  # accepted or not: the key makes asking again safe
            self.repeated += 1
            await asyncio.sleep(AGAIN_S)

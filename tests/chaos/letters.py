"""People who write to the bot, and what became of each letter."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from service.demo.people import BEACON, Contact
from service.simulator.accounts import Account
from tests.witness import Witness

BETWEEN_S: Final = (0.1, 0.6)
OVERDUE_S: Final = 20.0
"""A letter on its way for longer holds nobody back: it may have died with the bot's client."""

AGAIN_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Letter:
    """One message to the bot, accepted by WhatsApp. `text` says something that no other one says."""

    text: str
    id: str
    author: Contact = field(compare=False)
    written_at: float = field(compare=False)


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of letters. `acked_unseen`: the bot's client took it from WhatsApp, and the bot was never
    told. `lost`: neither."""

    written: int
    lost: int
    acked_unseen: int


@dataclass
class Writer:
    """One person's letters; `ahead` of them may be on their way at once."""

    person: Contact
    witness: Witness
    rng: random.Random
    ahead: int
    letters: list[Letter] = field(default_factory=list)

    async def run(self, stop: asyncio.Event) -> None:
        """Write until told to stop."""
        while not stop.is_set():
            if self._on_their_way() < self.ahead:
                text = f"{self.person.name}-{len(self.letters) + 1}"
                message_id = await self.person.send(BEACON, Witness.tell(text))
                self.letters.append(Letter(text, message_id, self.person, time.monotonic()))
                await asyncio.sleep(self.rng.uniform(*BETWEEN_S))
            else:
                await asyncio.sleep(AGAIN_S)

    def _on_their_way(self) -> int:
        told, overdue = set(self.witness.told), time.monotonic() - OVERDUE_S
        return sum(letter.written_at > overdue and letter.text not in told for letter in self.letters)


class Death:
    """What WhatsApp knew of the letters when the bot's client had ended."""

    def __init__(self, letters: Collection[Letter], bot: Account) -> None:
        self._before = frozenset(letters)
        self._confirmed = frozenset(letter for letter in letters if _confirmed(letter, bot))

    def took(self, letter: Letter) -> bool:
        """The client that ended had acknowledged it, read or unread: WhatsApp had forgotten it.

        What another client asked for again was still to be had.
        """
        if letter in self._confirmed:
            return True
        return letter in self._before and letter.id not in letter.author.asked_again


def fate(letters: Collection[Letter], told: Collection[str], death: Death, bot: Account) -> Fate:
    """What became of these letters in the life before this death and the one after it."""
    told = set(told)
    unseen = [letter for letter in letters if letter.text not in told]
    acked = sum(death.took(letter) for letter in unseen) if bot.waiting == 0 else 0
    return Fate(written=len(letters), lost=len(unseen) - acked, acked_unseen=acked)


def repeated(told: Collection[str]) -> int:
    """How often the bot was told something once more."""
    return sum(Counter(told).values()) - len(set(told))


def _confirmed(letter: Letter, bot: Account) -> bool:
    return f"{letter.author.phone} {letter.id}" in bot.received_ids

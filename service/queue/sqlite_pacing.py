"""What pacing has to remember, inside one SQLite transaction: who knows us, and what cools down."""

import sqlite3
from collections.abc import Mapping
from typing import Final

from service.queue.model import Acquaintance, Cooldown, Cooling

_SENT: Final = """
    INSERT INTO acquaintance (account, chat, first_sent_at) VALUES (?, ?, ?)
    ON CONFLICT DO UPDATE SET first_sent_at = excluded.first_sent_at
    WHERE first_sent_at IS NULL OR first_sent_at > excluded.first_sent_at"""
_HEARD: Final = """
    INSERT INTO acquaintance (account, chat, heard_at) VALUES (?, ?, ?)
    ON CONFLICT DO UPDATE SET heard_at = excluded.heard_at
    WHERE heard_at IS NULL OR heard_at < excluded.heard_at"""
_ACQUAINTANCE: Final = "SELECT first_sent_at, heard_at FROM acquaintance WHERE account = ? AND chat = ?"
_STRANGERS: Final = """
    SELECT count(*) FROM acquaintance
    WHERE account = ? AND heard_at IS NULL AND first_sent_at >= ? AND chat NOT LIKE '%@g.us'"""
_COOL: Final = """
    INSERT INTO cooldown (account, cooling, until, times) VALUES (?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET until = excluded.until, times = excluded.times"""
_COOLDOWNS: Final = "SELECT cooling, until, times FROM cooldown WHERE account = ?"


KNOWN_CHATS: Final = 100_000
"""Most chats of which is remembered that nothing new need be written when something is sent there."""


class Pacing:
    """The memory of one account."""

    def __init__(self, connection: sqlite3.Connection, account: str) -> None:
        self._execute = connection.execute
        self._execute_many = connection.executemany
        self._account = account
        self._met: dict[str, float] = {}
        self._acquainted: set[str] = set()

    def sent(self, chat: str, *, at: float) -> None:
        """Something was sent there; `flush` writes it."""
        if chat not in self._acquainted:
            self._met.setdefault(chat, at)

    def flush(self) -> None:
        """Write where something was sent for the first time, as far as this process knows."""
        if self._met:
            self._execute_many(_SENT, [(self._account, chat, at) for chat, at in self._met.items()])

    def ended(self, *, kept: bool) -> None:
        """The transaction ended: what was written is kept, or gone."""
        if kept and self._met:
            if len(self._acquainted) > KNOWN_CHATS:
                self._acquainted.clear()
            self._acquainted.update(self._met)
        self._met.clear()

    def heard(self, chat: str, *, at: float) -> None:
        """See QueueStore.heard."""
        self._execute(_HEARD, (self._account, chat, at))

    def acquaintance(self, chat: str) -> Acquaintance:
        """See QueueStore.acquaintance."""
        row = self._execute(_ACQUAINTANCE, (self._account, chat)).fetchone()
        return Acquaintance(None, None) if row is None else Acquaintance(*row)

    def acquaint(self, known: Mapping[str, Acquaintance]) -> None:
        """See QueueStore.acquaint."""
        for chat, acquaintance in known.items():
            if acquaintance.first_sent_at is not None:
                self._execute(_SENT, (self._account, chat, acquaintance.first_sent_at))
            if acquaintance.heard_at is not None:
                self.heard(chat, at=acquaintance.heard_at)

    def strangers_since(self, at: float) -> int:
        """See QueueStore.strangers_since."""
        (strangers,) = self._execute(_STRANGERS, (self._account, at)).fetchone()
        return int(strangers)

    def cool(self, cooling: Cooling, cooldown: Cooldown) -> None:
        """See QueueStore.cool."""
        self._execute(_COOL, (self._account, cooling.value, cooldown.until, cooldown.times))

    def cooldowns(self) -> dict[Cooling, Cooldown]:
        """See QueueStore.cooldowns."""
        found = self._execute(_COOLDOWNS, (self._account,))
        return {Cooling(cooling): Cooldown(until, times) for cooling, until, times in found}

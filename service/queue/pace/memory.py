"""Who wrote to us: the store's knowledge with a bounded cache, so that most messages cost no question."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import structlog

from service.errors import StoreUnavailable
from service.queue.model import Acquaintance, Cooldown, Cooling
from service.queue.pace.contract import Remembers

log = structlog.get_logger(__name__)

REMEMBERED: Final = 4096
"""Chats whose acquaintance is kept at hand; one takes some 300 bytes."""

EXACT_S: Final = 600.0
"""How exactly the store knows when a chat last wrote: a lively one must not cost a commit a message."""


class Memory:
    """Reads through a cache. What the store did not take is kept, and written before the next question."""

    def __init__(self, store: Remembers) -> None:
        self._store = store
        self._known: OrderedDict[str, Acquaintance] = OrderedDict()
        self._written: dict[str, float] = {}  # of those in _known: when they last wrote, as the store has it
        self._unheard: dict[str, float] = {}
        self._uncooled: dict[Cooling, Cooldown] = {}

    async def reset(self) -> None:
        """Trust nothing that was read before: another process may have written. Raises StoreUnavailable."""
        await self._flush()
        self._known.clear()
        self._written.clear()

    async def acquaintance(self, chat: str) -> Acquaintance:
        """What is known of a chat. Raises StoreUnavailable."""
        if self._unheard or self._uncooled:
            await self._flush()
        known = self._known.get(chat)
        if known is None:
            known = await self._store.acquaintance(chat)
            if known.first_sent_at is not None or known.heard_at is not None:  # the rest will soon change
                self._keep(chat, known)
                if known.heard_at is not None:
                    self._written[chat] = known.heard_at
        return known

    async def heard(self, chats: Iterable[str], *, at: float) -> None:
        """These chats wrote to us."""
        for chat in chats:
            known = self._known.get(chat, Acquaintance(None, None))
            self._keep(chat, replace(known, heard_at=max(at, known.heard_at or 0.0)))
            if at >= self._written.get(chat, 0.0) + EXACT_S:
                self._unheard[chat] = max(at, self._unheard.get(chat, 0.0))
        while len(self._unheard) > REMEMBERED:
            del self._unheard[next(iter(self._unheard))]
        await self._try_to_flush()

    async def cool(self, cooling: Cooling, cooldown: Cooldown) -> None:
        """A cool-down has begun."""
        self._uncooled[cooling] = cooldown
        await self._try_to_flush()

    def _keep(self, chat: str, known: Acquaintance) -> None:
        self._known[chat] = known
        self._known.move_to_end(chat)
        if len(self._known) > REMEMBERED:
            oldest, _ = self._known.popitem(last=False)
            self._written.pop(oldest, None)

    async def _try_to_flush(self) -> None:
        try:
            await self._flush()
        except StoreUnavailable as error:
            waiting = len(self._unheard) + len(self._uncooled)
            log.error("pace.store_failed", waiting=waiting, error=str(error))  # noqa: TRY400

    async def _flush(self) -> None:
        for cooling, cooldown in list(self._uncooled.items()):
            await self._store.cool(cooling, cooldown)
            if self._uncooled.get(cooling) is cooldown:
                del self._uncooled[cooling]
        for chat, at in list(self._unheard.items()):
            await self._store.heard(chat, at=at)
            if chat in self._known:
                self._written[chat] = at
            if self._unheard.get(chat) == at:
                del self._unheard[chat]

"""Tells the pacer of everybody who writes to us, in its own time: the store must not hold up events."""

import asyncio

from service.engine.protocol import MessageReceived
from service.queue.pace.contract import Pacer


class Ears:
    """Of several messages of one chat that wait, the last is told."""

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer
        self._waiting: dict[str, MessageReceived] = {}
        self._news = asyncio.Event()

    def receive(self, message: MessageReceived) -> None:
        """A message came; our own, from another device of ours, say nothing."""
        if not message.from_me:
            self._waiting[message.chat] = message
            self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                chat, message = self._waiting.popitem()
                people = (message.sender, message.sender_pn)
                others = tuple(jid for jid in people if jid is not None and jid != chat)
                await self._pacer.heard(chat, others, message.timestamp)

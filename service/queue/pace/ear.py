"""Tells the pacer who writes to us, in its own time: events come on the event loop and cannot wait."""

import asyncio
from collections import OrderedDict
from typing import Final

import structlog

from service.engine.protocol import MessageReceived
from service.queue.pace.contract import Pacer

log = structlog.get_logger(__name__)

WAITING: Final = 4096
"""Chats whose word has not been passed on yet, at most; the oldest goes first."""


class Ear:
    """Takes every message that comes in; `run` passes on whose they were."""

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer
        self._heard: OrderedDict[str, tuple[tuple[str, ...], float]] = OrderedDict()
        self._something = asyncio.Event()

    def hear(self, event: MessageReceived) -> None:
        """A message came. Our own, written on the phone, say nothing of anybody."""
        if event.from_me:
            return
        names = (event.sender, event.sender_pn)
        alternatives = tuple(name for name in names if name is not None and name != event.chat)
        self._heard[event.chat] = (alternatives, event.timestamp)
        self._heard.move_to_end(event.chat)
        if len(self._heard) > WAITING:
            self._heard.popitem(last=False)
            log.warning("pace.word_dropped", waiting=WAITING)
        self._something.set()

    async def run(self) -> None:
        """Pass on until cancelled."""
        while True:
            await self._something.wait()
            self._something.clear()
            while self._heard:
                chat, (alternatives, at) = self._heard.popitem(last=False)
                await self._pacer.heard(chat, alternatives, at)

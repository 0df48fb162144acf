"""Whoever writes to us is known to the pacer."""

import asyncio

from service.engine.protocol import MessageReceived
from service.queue.pace.contract import Unpaced
from service.queue.pace.ears import Ears
from tests.people import ANN, BEN

LID = "100000000000001@lid"


class Listens(Unpaced):
    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[str, ...], float]] = []
        self.news = asyncio.Event()

    async def heard(self, chat: str, alternatives: tuple[str, ...], at: float) -> None:
        self.told.append((chat, alternatives, at))
        self.news.set()


def written(chat: str, *, at: float, phone: str | None = None, from_me: bool = False) -> MessageReceived:
    return MessageReceived(
        id="1",
        chat=chat,
        sender=chat,
        sender_pn=None if phone is None else f"{phone}@s.whatsapp.net",
        is_group=False,
        from_me=from_me,
        timestamp=at,
        text="hello",
    )


async def test_the_pacer_hears_of_both_names_of_a_person_and_only_the_latest_message() -> None:
    pacer = Listens()
    ears = Ears(pacer)
    ears.receive(written(LID, at=1.0, phone=ANN))
    ears.receive(written(LID, at=2.0, phone=ANN))
    ears.receive(written(f"{BEN}@s.whatsapp.net", at=3.0, from_me=True))
    async with asyncio.timeout(60):
        running = asyncio.create_task(ears.run())
        await pacer.news.wait()
    running.cancel()
    assert pacer.told == [(LID, (f"{ANN}@s.whatsapp.net",), 2.0)]

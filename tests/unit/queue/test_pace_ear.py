"""Whoever writes to us is passed on to the pacer, under every name that came along."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from service.engine.protocol import MessageReceived
from service.queue.pace.contract import Unpaced
from service.queue.pace.ear import WAITING, Ear
from tests.unit.queue.pacing import GROUP, stranger

ANN, LID = stranger(101), "101000000000001@lid"


class Listener(Unpaced):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[str, ...], float]] = []

    async def heard(self, chat: str, alternatives: tuple[str, ...], at: float) -> None:
        await asyncio.sleep(0)
        self.told.append((chat, alternatives, at))


def received(
    chat: str, *, sender: str, pn: str | None = None, from_me: bool = False, at: float = 1.0
) -> MessageReceived:
    return MessageReceived(
        id="3EB0",
        chat=chat,
        sender=sender,
        sender_pn=pn,
        is_group=chat == GROUP,
        from_me=from_me,
        timestamp=at,
        text="hello",
    )


@asynccontextmanager
async def listening(listener: Listener) -> AsyncIterator[Ear]:
    ear = Ear(listener)
    running = asyncio.create_task(ear.run())
    yield ear
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_all_names_of_who_wrote_are_passed_on() -> None:
    listener = Listener()
    async with listening(listener) as ear:
        ear.hear(received(LID, sender=LID, pn=ANN))
        ear.hear(received(ANN, sender=ANN))
        ear.hear(received(GROUP, sender=LID, pn=ANN))
        await until(lambda: len(listener.told) == 3)
    assert listener.told == [(LID, (ANN,), 1.0), (ANN, (), 1.0), (GROUP, (LID, ANN), 1.0)]


async def test_what_we_wrote_on_the_phone_is_nobody_s_word() -> None:
    listener = Listener()
    async with listening(listener) as ear:
        ear.hear(received(ANN, sender=ANN, from_me=True))
        ear.hear(received(LID, sender=LID))
        await until(lambda: bool(listener.told))
    assert [chat for chat, _, _ in listener.told] == [LID]


async def test_of_a_chat_that_writes_much_the_last_word_counts_and_a_flood_is_bounded() -> None:
    listener = Listener()
    ear = Ear(listener)
    for at in range(5):
        ear.hear(received(ANN, sender=ANN, at=float(at)))
    for number in range(WAITING):
        ear.hear(received(stranger(number + 1000), sender=ANN))
    running = asyncio.create_task(ear.run())
    await until(lambda: len(listener.told) == WAITING)
    running.cancel()
    assert ANN not in {chat for chat, _, _ in listener.told}, "the oldest went first"
    with suppress(asyncio.CancelledError):
        await running

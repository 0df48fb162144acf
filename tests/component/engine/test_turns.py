"""Nothing is lost when an account sends and receives at the same moment; and the installed whatsmeow says the
words by which turns are known."""

import asyncio

import pytest

from service.engine.protocol import MessageReceived, Undecryptable, Unread
from tests.component.engine.world import Engine, World
from tests.people import ANN, BEN

pytestmark = pytest.mark.asyncio(loop_scope="module")

EACH = 150


async def write(author: Engine, reader: Engine) -> set[str]:
    texts = [f"{author.phone} {number}" for number in range(EACH)]
    for text in texts:
        await author.sent(reader.jid, text)
    return set(texts)


async def test_two_who_write_to_each_other_at_once_read_everything(world: World) -> None:
    ann, ben = await world.online(ANN), await world.online(BEN)
    to_ben, to_ann = await asyncio.gather(write(ann, ben), write(ben, ann))

    for reader, texts in ((ben, to_ben), (ann, to_ann)):
        await reader.read(texts)
        dropped = [
            event
            for event in reader.events
            if isinstance(event, Undecryptable) and event.reason is Unread.OLD_COUNTER
        ]
        assert not dropped
    for engine in (ann, ben):
        for use in ("send", "receive"):
            await engine.has_counted(EACH, "turns_total", use=use)
        overruns = engine.counted("turn_overruns_total")
        assert overruns is not None
        assert overruns < EACH / 10, "turns end without anybody hearing it"
    await world.leave(ann)
    await world.leave(ben)


async def test_what_was_decrypted_when_the_engine_was_stopped_is_told(world: World) -> None:
    ann, ben = await world.online(ANN), await world.online(BEN)
    texts = {f"while you leave {number}" for number in range(EACH)}

    async def flood() -> None:
        for text in sorted(texts):
            await ben.sent(ann.jid, text)

    flooding = asyncio.create_task(flood())
    await ann.told(MessageReceived, lambda message: message.text in texts)
    await world.leave(ann)  # in the middle
    before = ann.texts
    await flooding

    again = await world.online(ANN)
    await again.read(texts - before)
    await world.leave(again)
    await world.leave(ben)

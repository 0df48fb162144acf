"""Every kind of content, sent by an engine and read by a neonize that is left as it is."""

import hashlib
import os
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from service.engine.content import (
    AnyContent,
    Audio,
    Contact,
    Document,
    File,
    Image,
    Location,
    MessageRef,
    Poll,
    Reaction,
    Sticker,
    Text,
    Video,
)
from service.engine.protocol import MessageReceived, Refusal, Refused, Sent
from tests.component.engine.files import Kept, keep, opus, picture
from tests.component.engine.reader import Got, Reader, reading
from tests.component.engine.world import Engine, World
from tests.people import ANN, BEN, CLEO

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Pair:
    """Ann's engine, and what Ben reads."""

    ann: Engine
    ben: Reader
    world: World

    @property
    def chat(self) -> str:
        return f"{BEN}@s.whatsapp.net"

    async def arrives(self, content: AnyContent, *, file: Path | None = None) -> Got:
        """Send it; the message as Ben got it, with the secret that makes it findable."""
        secret = os.urandom(32)
        reply = await self.ann.send(self.chat, content, file=file, secret=secret)
        assert isinstance(reply, Sent), reply
        assert await self.ann.session.find_message_id(secret) == reply.message_id
        got = await self.ben.got(reply.message_id)
        assert got.message.messageContextInfo.messageSecret == secret
        return got


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(world: World) -> AsyncIterator[Pair]:
    ben = await world.online(BEN)
    await world.leave(ben)
    ann = await world.online(ANN)
    async with reading(world.simulator, ben.session) as reader:
        yield Pair(ann, reader, world)


@pytest.fixture
def film(tmp_path: Path) -> Kept:
    return keep(tmp_path, random.Random(1).randbytes(3_000_000), "video/mp4")


QUOTED = MessageRef("3EB0AA", sender=f"{BEN}@s.whatsapp.net", text="when?")


def quotes(context: Any) -> tuple[str, str, str]:
    return context.stanzaID, context.participant, context.quotedMessage.conversation


async def test_text_arrives_as_it_is(pair: Pair) -> None:
    assert (await pair.arrives(Text(text="at eight, 🎈"))).message.conversation == "at eight, 🎈"


async def test_a_reply_quotes_what_it_answers(pair: Pair) -> None:
    text = (await pair.arrives(Text(text="at eight", reply_to=QUOTED))).message.extendedTextMessage
    assert text.text == "at eight"
    assert quotes(text.contextInfo) == ("3EB0AA", f"{BEN}@s.whatsapp.net", "when?")


async def test_a_reply_to_ourselves_names_us(pair: Pair) -> None:
    text = (await pair.arrives(Text(text="or nine", reply_to=MessageRef("3EB0BB")))).message
    assert text.extendedTextMessage.contextInfo.participant == pair.ann.jid


async def test_a_picture_arrives_whole(pair: Pair, tmp_path: Path) -> None:
    kept = keep(tmp_path, picture(), "image/png")
    got = await pair.arrives(Image(file=kept.file, caption="the harbour", reply_to=QUOTED), file=kept.path)
    assert got.downloaded == kept.file.sha256
    image = got.message.imageMessage
    assert (image.mimetype, image.caption, image.fileLength) == (
        "image/png",
        "the harbour",
        kept.file.size_bytes,
    )
    assert quotes(image.contextInfo)[0] == "3EB0AA"


async def test_a_film_arrives_whole(pair: Pair, film: Kept) -> None:
    got = await pair.arrives(Video(file=film.file, caption="waves"), file=film.path)
    assert got.downloaded == film.file.sha256
    assert (got.message.videoMessage.mimetype, got.message.videoMessage.caption) == ("video/mp4", "waves")


async def test_sound_arrives_whole(pair: Pair, tmp_path: Path) -> None:
    kept = keep(tmp_path, b"ID3" + bytes(5000), "audio/mpeg")
    got = await pair.arrives(Audio(file=kept.file), file=kept.path)
    assert got.downloaded == kept.file.sha256
    assert (got.message.audioMessage.mimetype, got.message.audioMessage.PTT) == ("audio/mpeg", False)


async def test_a_voice_message_says_how_long_it_is(pair: Pair, tmp_path: Path) -> None:
    kept = keep(tmp_path, opus(7), "audio/ogg; codecs=opus")
    got = await pair.arrives(Audio(file=kept.file, voice=True), file=kept.path)
    assert got.downloaded == kept.file.sha256
    voice = got.message.audioMessage
    assert (voice.mimetype, voice.PTT, voice.seconds) == ("audio/ogg; codecs=opus", True, 7)


async def test_a_document_arrives_whole_and_with_its_name(pair: Pair, tmp_path: Path) -> None:
    kept = keep(tmp_path, b"%PDF-1.7 " + bytes(100), "application/pdf", "tides 2026.pdf")
    got = await pair.arrives(Document(file=kept.file), file=kept.path)
    assert got.downloaded == kept.file.sha256
    document = got.message.documentMessage
    assert (document.mimetype, document.fileName) == ("application/pdf", "tides 2026.pdf")


async def test_a_document_with_a_caption_is_wrapped_as_clients_want_it(pair: Pair, tmp_path: Path) -> None:
    kept = keep(tmp_path, b"a,b\n1,2\n", "text/csv")
    got = await pair.arrives(Document(file=kept.file, caption="by hour"), file=kept.path)
    assert got.downloaded == kept.file.sha256
    assert (got.message.documentMessage.fileName, got.message.documentMessage.caption) == ("file", "by hour")


@pytest.mark.parametrize(("frames", "moves"), [(1, False), (3, True)])
async def test_a_sticker_arrives_whole_and_moves_if_it_does(
    pair: Pair, tmp_path: Path, frames: int, *, moves: bool
) -> None:
    kept = keep(tmp_path, picture("WEBP", frames=frames), "image/webp")
    got = await pair.arrives(Sticker(file=kept.file), file=kept.path)
    assert got.downloaded == kept.file.sha256
    assert (got.message.stickerMessage.mimetype, got.message.stickerMessage.isAnimated) == (
        "image/webp",
        moves,
    )


async def test_a_place_arrives(pair: Pair) -> None:
    content = Location(latitude=53.5436, longitude=9.9888, name="Speicherstadt", address="Am Sandtorkai")
    place = (await pair.arrives(content)).message.locationMessage
    assert (place.degreesLatitude, place.degreesLongitude) == (53.5436, 9.9888)
    assert (place.name, place.address) == ("Speicherstadt", "Am Sandtorkai")


async def test_a_card_arrives(pair: Pair) -> None:
    card = (await pair.arrives(Contact(name="Cleo; of the sea", phone=CLEO))).message.contactMessage
    assert card.displayName == "Cleo; of the sea"
    assert f"waid={CLEO}:+{CLEO}" in card.vcard
    assert "FN:Cleo\\; of the sea" in card.vcard


async def test_a_poll_arrives_and_can_be_voted_in(pair: Pair) -> None:
    secret = os.urandom(32)
    content = Poll(question="When?", options=("eight", "nine", "ten"), choices=2)
    sent = await pair.ann.send(pair.chat, content, secret=secret)
    assert isinstance(sent, Sent)
    poll = (await pair.ben.got(sent.message_id)).message.pollCreationMessage
    assert (poll.name, poll.selectableOptionsCount) == ("When?", 2)
    assert [option.optionName for option in poll.options] == ["eight", "nine", "ten"]

    await pair.world.leave(pair.ann)
    await pair.ben.vote(sent.message_id, "eight", "ten")
    async with reading(pair.world.simulator, pair.ann.session) as ann:
        votes = (await ann.next()).votes
    assert votes == [hashlib.sha256(option).hexdigest() for option in (b"eight", b"ten")]
    pair.ann = await pair.world.online(ANN)


async def test_a_reaction_names_its_message_and_can_be_taken_away(pair: Pair) -> None:
    ours = (await pair.ann.sent(pair.chat, "look")).message_id
    reaction = (await pair.arrives(Reaction(to=MessageRef(ours), emoji="👍"))).message.reactionMessage
    assert (reaction.key.ID, reaction.key.fromMe, reaction.text) == (ours, True, "👍")

    theirs = MessageRef("3EB0CC", sender=pair.chat)
    reaction = (await pair.arrives(Reaction(to=theirs, emoji=""))).message.reactionMessage
    assert (reaction.key.ID, reaction.key.fromMe, reaction.text) == ("3EB0CC", False, "")


# --- when a file cannot be brought ------------------------------------------------------------------


async def refused(pair: Pair, content: AnyContent, file: Path | None) -> str:
    """The words of the refusal; nothing was sent, and no trace of it is found by its secret."""
    secret, before = os.urandom(32), pair.world.simulator.accounts[ANN].sent
    reply = await pair.ann.send(pair.chat, content, file=file, secret=secret)
    assert isinstance(reply, Refused), reply
    assert reply.refusal is Refusal.FAILED
    assert await pair.ann.session.find_message_id(secret) is None
    assert pair.world.simulator.accounts[ANN].sent == before
    return reply.text


@pytest.mark.parametrize("status", [403, 413, 429, 503])
async def test_an_upload_that_is_refused_sends_nothing(pair: Pair, film: Kept, status: int) -> None:
    pair.world.simulator.faults.refuse_uploads(status, ANN)
    words = await refused(pair, Video(file=film.file), film.path)
    assert words == f"upload: upload failed with status code {status}"

    got = await pair.arrives(Video(file=film.file), file=film.path)
    assert got.downloaded == film.file.sha256


async def test_an_upload_that_takes_its_time_is_waited_for(pair: Pair, film: Kept) -> None:
    pair.world.simulator.faults.slow_uploads(film.file.size_bytes / 0.5, ANN)
    before = pair.world.simulator.accounts[ANN].uploaded
    got = await pair.arrives(Video(file=film.file), file=film.path)
    assert got.downloaded == film.file.sha256
    assert pair.world.simulator.accounts[ANN].uploaded == before + 1
    pair.world.simulator.faults.heal()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (None, "file: no path was given"),
        (Path("/nowhere/at/all"), "file: No such file or directory"),
    ],
    ids=["no path", "no such file"],
)
async def test_a_file_that_is_not_there_sends_nothing(
    pair: Pair, film: Kept, path: Path | None, words: str
) -> None:
    assert await refused(pair, Video(file=film.file), path) == words


async def test_a_file_with_other_bytes_than_were_kept_sends_nothing(pair: Pair, tmp_path: Path) -> None:
    kept = keep(tmp_path, picture(), "image/png")
    other = File(sha256="0" * 64, media_type="image/png", size_bytes=kept.file.size_bytes)
    words = await refused(pair, Image(file=other), kept.path)
    assert words == "file: its bytes are not those that were kept"

    kept.path.write_bytes(b"short")
    words = await refused(pair, Image(file=kept.file), kept.path)
    assert words == f"file: 5 bytes instead of {kept.file.size_bytes}"


# --- what is received -------------------------------------------------------------------------------


def is_called(message_id: str, message: MessageReceived) -> bool:
    return message.id == message_id


async def test_who_receives_is_told_the_kind(pair: Pair, tmp_path: Path) -> None:
    cleo = await pair.world.online(CLEO)
    kept = keep(tmp_path, picture(), "image/png")
    for content, kind in (
        (Text(text="one"), "text"),
        (Image(file=kept.file), "image"),
        (Document(file=kept.file, caption="x"), "document"),
        (Contact(name="Ben", phone=BEN), "contact"),
        (Poll(question="?", options=("a", "b")), "poll"),
        (Reaction(to=MessageRef("3EB0"), emoji="!"), "reaction"),
    ):
        sent = await pair.ann.sent(cleo.jid, content, file=kept.path)
        received = await cleo.told(MessageReceived, partial(is_called, sent.message_id))
        assert received.content == kind
    await pair.world.leave(cleo)

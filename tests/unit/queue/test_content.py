"""What a message may say."""

import pytest
from msgspec.structs import replace

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
from service.errors import InvalidInput
from service.queue.content import MAX_CAPTION_CHARS, MAX_TEXT_BYTES, parse_content, parse_text
from tests.people import ANN


@pytest.mark.parametrize("text", ["x", " x ", "👩‍👩‍👧", "ä" * (MAX_TEXT_BYTES // 2), "a\nb\tc"])
def test_text_is_kept_as_it_is(text: str) -> None:
    assert parse_text(text, field="text") == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "at least one character"),
        (" \n\t\u2003", "at least one character"),
        ("a\0b", "NUL"),
        ("half \ud83d", "surrogate"),
        ("a" * (MAX_TEXT_BYTES + 1), f"{MAX_TEXT_BYTES + 1} bytes"),
        ("ä" * (MAX_TEXT_BYTES // 2) + "a", f"{MAX_TEXT_BYTES + 1} bytes"),
    ],
)
def test_what_cannot_be_sent_is_refused_without_quoting_it(text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as refused:
        parse_text(text, field="text")
    assert not text.strip() or text not in str(refused.value)


REF = MessageRef(id="3EB0C0FFEE", sender=f"+{ANN}")
PICTURE = File(sha256="a" * 64, media_type="image/jpeg", size_bytes=9)
PAPER = File(sha256="b" * 64, media_type="application/pdf", size_bytes=9, name="bill.pdf")
SOUND = File(sha256="c" * 64, media_type="audio/ogg", size_bytes=9)
POLL = Poll(question="Lunch?", options=("yes", "no"))
HERE = Location(latitude=52.5, longitude=13.4, name="Café", address="Main Street 1")


@pytest.mark.parametrize(
    "content",
    [
        Image(file=PICTURE, caption="two\nlines"),
        Video(file=replace(PICTURE, media_type="video/mp4")),
        Audio(file=SOUND, voice=True),
        Audio(file=replace(SOUND, media_type="audio/mpeg")),
        Document(file=PAPER, caption="c" * MAX_CAPTION_CHARS),
        Document(file=replace(PAPER, media_type="application/vnd.ms-excel", name=None)),
        Sticker(file=replace(PICTURE, media_type="image/webp")),
        HERE,
        Location(latitude=-90, longitude=180),
        POLL,
        Poll(question="?", options=tuple("abcdefghijkl"), choices=0),
    ],
    ids=lambda content: type(content).__name__,
)
def test_every_kind_within_its_bounds_is_kept_as_it_is(content: AnyContent) -> None:
    assert parse_content(content, field="m") == content


@pytest.mark.parametrize("emoji", ["👍", "❤️", "❤", "👍🏽", "👩‍👩‍👧‍👦", "🇩🇪", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "1️⃣", "™️", "🏳️‍🌈", ""])
def test_a_reaction_is_one_emoji_or_none(emoji: str) -> None:
    reaction = Reaction(to=REF, emoji=emoji)
    assert parse_content(reaction, field="m") == Reaction(
        to=replace(REF, sender=f"{ANN}@s.whatsapp.net"), emoji=emoji
    )


def test_numbers_inside_of_contents_take_one_form() -> None:
    contact = Contact(name="Ann", phone=f"+{ANN[0]} ({ANN[1:4]}) {ANN[4:]}", reply_to=REF)
    kept = parse_content(contact, field="m")
    assert kept == Contact(name="Ann", phone=ANN, reply_to=replace(REF, sender=f"{ANN}@s.whatsapp.net"))


@pytest.mark.parametrize(
    ("content", "field", "says"),
    [
        (Image(file=replace(PICTURE, media_type="image/gif")), "m.file", "image/jpeg or image/png or"),
        (Image(file=replace(PICTURE, size_bytes=0)), "m.file", "must not be empty"),
        (Image(file=replace(PICTURE, sha256="A" * 64)), "m.file", "SHA-256"),
        (Image(file=PICTURE, caption="c" * (MAX_CAPTION_CHARS + 1)), "m.caption", "at most 1024"),
        (Image(file=PICTURE, caption="\ud800"), "m.caption", "surrogate"),
        (Audio(file=replace(SOUND, media_type="audio/mpeg"), voice=True), "m.file", "voice message must"),
        (Document(file=replace(PAPER, media_type="pdf")), "m.file", "media type such as"),
        (Document(file=replace(PAPER, name="a/b.pdf")), "m.name", "without folders"),
        (Document(file=replace(PAPER, name="a\nb")), "m.name", "one line"),
        (Sticker(file=PICTURE), "m.file", "a sticker must be image/webp, not image/jpeg"),
        (replace(HERE, latitude=90.1), "m.latitude", "-90 to 90"),
        (replace(HERE, longitude=float("nan")), "m.longitude", "-180 to 180"),
        (replace(HERE, name="n" * 257), "m.name", "at most 256"),
        (replace(HERE, address="a\u2028b"), "m.address", "one line"),
        (Contact(name=" ", phone=ANN), "m.name", "not space"),
        (Contact(name="Ann\r\nTEL:1", phone=ANN), "m.name", "one line"),
        (Contact(name="Ann", phone="0301234567"), "m.phone", "not with 0"),
        (Contact(name="Ann", phone=f"{ANN}@lid"), "m.phone", "phone number with country code"),
        (replace(POLL, question=""), "m.question", "not space"),
        (replace(POLL, question="q" * 256), "m.question", "at most 255"),
        (replace(POLL, options=("yes",)), "m.options", "holds 1: must be 2 to 12"),
        (replace(POLL, options=tuple("abcdefghijklm")), "m.options", "holds 13"),
        (replace(POLL, options=("yes", "yes")), "m.options[1]", "twice"),
        (replace(POLL, options=("yes", "")), "m.options[1]", "not space"),
        (replace(POLL, choices=3), "m.choices", "3: must be 0"),
        (Reaction(to=REF, emoji="x"), "m.emoji", "one emoji"),
        (Reaction(to=REF, emoji="👍👎"), "m.emoji", "one emoji"),
        (Reaction(to=REF, emoji="1"), "m.emoji", "one emoji"),
        (Reaction(to=replace(REF, id=""), emoji="👍"), "m.message.id", "WhatsApp message id"),
        (Reaction(to=replace(REF, sender="1@g.us"), emoji="👍"), "m.message.sender", "5 to 20 digits"),
        (
            Text(text="x", reply_to=replace(REF, sender="120363012345678901@g.us")),
            "m.reply_to.sender",
            "not a group's",
        ),
        (Text(text="x", reply_to=replace(REF, id="a b")), "m.reply_to.id", "WhatsApp message id"),
        (Text(text="x", reply_to=replace(REF, text="\0")), "m.reply_to.text", "NUL"),
    ],
)
def test_what_is_out_of_bounds_is_named(content: AnyContent, field: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as refused:
        parse_content(content, field="m")
    assert refused.value.field == field

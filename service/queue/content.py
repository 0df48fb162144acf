"""What a message may say: the one place where contents are checked.

Sentences name what is wrong and never quote what somebody wrote, because they end up in logs.
"""

import math
import re
from typing import Final

import msgspec

from service.engine.content import (
    AnyContent,
    Audio,
    Contact,
    Document,
    File,
    Image,
    Location,
    Media,
    MessageRef,
    Poll,
    Reaction,
    Sticker,
    Text,
    Video,
)
from service.errors import InputTooLarge, InvalidInput
from service.queue.address import parse_person, parse_phone
from service.queue.media import check_media_type

MAX_TEXT_BYTES: Final = 65_536
MAX_CAPTION_CHARS: Final = 1_024
MAX_LINE_CHARS: Final = 256
"""Of a name or an address: what is shown on one line."""

MAX_QUESTION_CHARS: Final = 255
MAX_OPTION_CHARS: Final = 100
POLL_OPTIONS: Final = (2, 12)

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MESSAGE_ID: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")

_BASE: Final = (
    "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23ff\u24c2\u25aa-\u27bf\u2934\u2935"
    "\u2b05-\u2b55\u3030\u303d\u3297\u3299\U0001f000-\U0001f1e5\U0001f200-\U0001f3fa\U0001f400-\U0001faff"
)
_ELEMENT: Final = rf"[{_BASE}]\ufe0f?[\U0001f3fb-\U0001f3ff]?[\U000e0020-\U000e007f]*"
_EMOJI: Final = re.compile(
    rf"{_ELEMENT}(?:\u200d{_ELEMENT}){{0,9}}|[\U0001f1e6-\U0001f1ff]{{2}}|[0-9#*]\ufe0f?\u20e3"
)
"""One emoji, after Unicode Technical Standard 51: joined by ZWJ, a flag, or a keycap."""

MAX_EMOJI_CHARS: Final = 40


def parse_content(content: AnyContent, *, field: str) -> AnyContent:
    """The content as it is kept, with numbers in one form.

    Raises InvalidInput, or InputTooLarge, with a field under `field`.
    """
    match content:
        case Text():
            parse_text(content.text, field=f"{field}.text")
        case Image() | Video() | Audio() | Document() | Sticker():
            _check_media(content, field=field)
        case Location():
            _check_location(content, field=field)
        case Contact():
            content = _parse_contact(content, field=field)
        case Poll():
            _check_poll(content, field=field)
        case Reaction():
            _check_emoji(content.emoji, field=f"{field}.emoji")
            return msgspec.structs.replace(content, to=_parse_ref(content.to, field=f"{field}.message"))
    if isinstance(content, Poll) or content.reply_to is None:
        return content
    return msgspec.structs.replace(content, reply_to=_parse_ref(content.reply_to, field=f"{field}.reply_to"))


def parse_text(value: str, *, field: str) -> str:
    """The text, if it can be sent: 1 to 65,536 bytes of UTF-8, not blank, no NUL, no lone surrogate.

    Raises InvalidInput, InputTooLarge.
    """
    if not value.strip():
        raise InvalidInput(field, "must have at least one character that is not space")
    _check_characters(value, field=field)
    return value


def _check_media(content: Media, *, field: str) -> None:
    if isinstance(content, Image | Video | Document):
        _check_short(content.caption, field=f"{field}.caption", most=MAX_CAPTION_CHARS)
    _check_file(content.file, field=field)
    voice = isinstance(content, Audio) and content.voice
    check_media_type(content.file.media_type, type(content), voice=voice, field=f"{field}.file")


def _check_file(file: File, *, field: str) -> None:
    if not _SHA256.fullmatch(file.sha256):
        raise InvalidInput(f"{field}.file", "must be named by the SHA-256 of its bytes, in lower-case hex")
    if file.size_bytes < 1:
        raise InvalidInput(f"{field}.file", "must not be empty")
    if file.name is not None:
        check_file_name(file.name, field=f"{field}.name")


def check_file_name(name: str, *, field: str) -> None:
    """Raises InvalidInput for what is no name of a file."""
    _check_line(name, field=field)
    if "/" in name or "\\" in name:
        raise InvalidInput(field, "must be a file's name without folders")


def _check_location(content: Location, *, field: str) -> None:
    for name, degrees, most in (("latitude", content.latitude, 90), ("longitude", content.longitude, 180)):
        if not (math.isfinite(degrees) and -most <= degrees <= most):
            raise InvalidInput(f"{field}.{name}", f"must be degrees from -{most} to {most}")
    for name, line in (("name", content.name), ("address", content.address)):
        if line:
            _check_line(line, field=f"{field}.{name}")


def _parse_contact(content: Contact, *, field: str) -> Contact:
    _check_line(content.name, field=f"{field}.name")
    phone = parse_phone(content.phone, field=f"{field}.phone")
    return msgspec.structs.replace(content, phone=phone)


def _check_poll(content: Poll, *, field: str) -> None:
    _check_line(content.question, field=f"{field}.question", most=MAX_QUESTION_CHARS)
    least, most = POLL_OPTIONS
    if not least <= len(content.options) <= most:
        raise InvalidInput(f"{field}.options", f"holds {len(content.options)}: must be {least} to {most}")
    for index, option in enumerate(content.options):
        _check_line(option, field=f"{field}.options[{index}]", most=MAX_OPTION_CHARS)
        if option in content.options[:index]:
            raise InvalidInput(f"{field}.options[{index}]", "must not be there twice")
    if not 0 <= content.choices <= len(content.options):
        raise InvalidInput(
            f"{field}.choices",
            f"{content.choices}: must be 0 (any number) to the number of options, {len(content.options)}",
        )


def _check_emoji(emoji: str, *, field: str) -> None:
    if emoji and (len(emoji) > MAX_EMOJI_CHARS or not _EMOJI.fullmatch(emoji)):
        raise InvalidInput(field, "must be one emoji, or empty to take the reaction away")


def _parse_ref(ref: MessageRef, *, field: str) -> MessageRef:
    if not _MESSAGE_ID.fullmatch(ref.id):
        raise InvalidInput(f"{field}.id", "must be a WhatsApp message id: 1 to 128 letters and digits")
    if ref.text:
        _check_characters(ref.text, field=f"{field}.text")
    sender = None if ref.sender is None else parse_person(ref.sender, field=f"{field}.sender")
    return msgspec.structs.replace(ref, sender=sender)


def _check_line(value: str, *, field: str, most: int = MAX_LINE_CHARS) -> None:
    """Something to show on one line, not blank."""
    if not value.strip():
        raise InvalidInput(field, "must have at least one character that is not space")
    _check_short(value, field=field, most=most)
    if any(_is_control(character) for character in value):
        raise InvalidInput(field, "must be one line, without control characters")


def _check_short(value: str, *, field: str, most: int) -> None:
    if len(value) > most:
        raise InvalidInput(field, f"has {len(value)} characters: at most {most} are allowed")
    _check_characters(value, field=field)


def _check_characters(value: str, *, field: str) -> None:
    if "\0" in value:
        raise InvalidInput(field, "must not hold the character NUL")
    try:
        size_bytes = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidInput(field, "holds half of a surrogate pair, which is no text") from None
    if size_bytes > MAX_TEXT_BYTES:
        raise InputTooLarge(field, f"is {size_bytes} bytes of UTF-8, at most {MAX_TEXT_BYTES} are allowed")


def _is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character < "\xa0" or character in "\u2028\u2029"

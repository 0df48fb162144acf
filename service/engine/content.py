"""What a message may be, as it is kept in the queue and as the engine is told.

Nothing here is checked; `service.queue.content` says what is allowed. A file is named by the SHA-256 of its
bytes: the queue keeps the bytes, the engine is told of a path.
"""

from typing import TypeAlias

import msgspec


class Content(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    """Base of every kind."""


class MessageRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message in the same chat: its WhatsApp id, and the JID (without device) of who wrote it, None for
    ourselves. `text` is what a quotation shows of it."""

    id: str
    sender: str | None = None
    text: str = ""


class File(msgspec.Struct, frozen=True, omit_defaults=True):
    """A kept file: SHA-256 in lower-case hex, media type (RFC 6838), bytes, and a name to show."""

    sha256: str
    media_type: str
    size_bytes: int
    name: str | None = None


class Text(Content, frozen=True, tag="text"):
    """Text, perhaps in reply."""

    text: str
    reply_to: MessageRef | None = None


class Image(Content, frozen=True, tag="image"):
    """A picture."""

    file: File
    caption: str = ""
    reply_to: MessageRef | None = None


class Video(Content, frozen=True, tag="video"):
    """A film."""

    file: File
    caption: str = ""
    reply_to: MessageRef | None = None


class Audio(Content, frozen=True, tag="audio"):
    """Sound; `voice` shows it as a voice message."""

    file: File
    voice: bool = False
    reply_to: MessageRef | None = None


class Document(Content, frozen=True, tag="document"):
    """Any file, shown with its name."""

    file: File
    caption: str = ""
    reply_to: MessageRef | None = None


class Sticker(Content, frozen=True, tag="sticker"):
    """A WebP picture without frame."""

    file: File
    reply_to: MessageRef | None = None


class Location(Content, frozen=True, tag="location"):
    """A place; degrees, WGS 84."""

    latitude: float
    longitude: float
    name: str = ""
    address: str = ""
    reply_to: MessageRef | None = None


class Contact(Content, frozen=True, tag="contact"):
    """Somebody's card; `phone` is digits with country code."""

    name: str
    phone: str
    reply_to: MessageRef | None = None


class Poll(Content, frozen=True, tag="poll"):
    """A question with options, of which at most `choices` may be chosen (0: any number)."""

    question: str
    options: tuple[str, ...]
    choices: int = 1


class Reaction(Content, frozen=True, tag="reaction"):
    """An emoji on a message; an empty one takes it away."""

    to: MessageRef
    emoji: str


AnyContent: TypeAlias = (
    Text | Image | Video | Audio | Document | Sticker | Location | Contact | Poll | Reaction
)
Media: TypeAlias = Image | Video | Audio | Document | Sticker

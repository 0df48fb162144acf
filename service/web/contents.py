"""The messages that callers hand in, of every kind: what validates them is what documents them.

Here is checked what each field's type is. What a text or a poll may hold is `service.queue.content`'s
business alone; the schema names its bounds so that they can be read.
"""

from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from pydantic import Field

from service.engine.content import (
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
from service.errors import InvalidInput
from service.queue import content as rules
from service.queue.model import PRIORITIES, OnUnknown
from service.web import limits
from service.web.fetch import MAX_URL_CHARS
from service.web.schemas import Input, Instant, shown


def _bounds(least: int, most: int) -> dict[str, Any]:
    """For readers of the schema; `service.queue.content` is what checks."""
    return {"minLength": least, "maxLength": most}


_ONE_LINE: Final = f"one line of 1 to {rules.MAX_LINE_CHARS} characters"
_LINE: Final = _bounds(1, rules.MAX_LINE_CHARS)
_LINE_OR_NONE: Final = _bounds(0, rules.MAX_LINE_CHARS)
_SENDER: Final = "the phone number or JID of who wrote it; left out when it was us"


class TargetIn(Input):
    """A message in the same chat."""

    id: str = Field(
        min_length=1,
        max_length=128,
        description="a WhatsApp message id of 1 to 128 letters and digits",
        json_schema_extra={"pattern": "^[0-9A-Za-z][0-9A-Za-z._-]*$"},
    )
    sender: str | None = Field(None, min_length=1, max_length=100, description=_SENDER)

    def ref(self) -> MessageRef:
        """As the queue names it."""
        return MessageRef(id=self.id, sender=self.sender)


class ReplyIn(TargetIn):
    """The message that this one replies to."""

    text: str = Field("", description="what the quotation shows of it")

    def ref(self) -> MessageRef:
        """As the queue names it."""
        return MessageRef(id=self.id, sender=self.sender, text=self.text)


class NewMessageIn(Input):
    """One message to send. Each description says what is allowed, and is quoted when a value is not."""

    to: str = Field(min_length=1, max_length=100, description="a phone number with country code, or a JID")
    priority: int = Field(
        5,
        ge=PRIORITIES[0],
        le=PRIORITIES[-1],
        description=f"a whole number from {PRIORITIES[0]} to {PRIORITIES[-1]}; higher goes first",
    )
    not_before: Instant | None = Field(
        None, description="a time, as RFC 3339 with offset or Unix seconds, at most 366 days ahead"
    )
    expires_at: Instant | None = Field(
        None, description="a time to come, as RFC 3339 with offset or Unix seconds, at most 366 days ahead"
    )
    ttl_s: float | None = Field(
        None, gt=0, le=limits.HORIZON_S, description="seconds from now, above 0 and at most 366 days"
    )
    max_attempts: int = Field(
        10, ge=1, le=limits.MAX_ATTEMPTS, description=f"a whole number from 1 to {limits.MAX_ATTEMPTS}"
    )
    on_unknown: OnUnknown = Field(OnUnknown.RESEND, strict=False, description="resend or hold")
    idempotency_key: str | None = Field(
        None,
        min_length=1,
        max_length=limits.IDEMPOTENCY_KEY_CHARS,
        pattern=r"^[\x21-\x7e]+$",
        description=f"1 to {limits.IDEMPOTENCY_KEY_CHARS} printable ASCII characters without space",
    )


class _Replying(NewMessageIn):
    reply_to: ReplyIn | None = Field(None, description="the message that this one replies to")

    def reply(self) -> MessageRef | None:
        return None if self.reply_to is None else self.reply_to.ref()


class TextIn(_Replying):
    """A text. The kind without `type`."""

    type: Literal["text"] = Field("text", description="text")
    text: str = Field(
        description=f"text of 1 to {rules.MAX_TEXT_BYTES} bytes of UTF-8, not only space",
        json_schema_extra=_bounds(1, rules.MAX_TEXT_BYTES),
    )

    def content(self) -> Text:
        """As the queue keeps it."""
        return Text(text=self.text, reply_to=self.reply())


class MediaIn(_Replying):
    """A file, named by its URL; or sent in the same request, as multipart/form-data."""

    kind: ClassVar[type[Media]]
    url: str | None = Field(
        None,
        description="an http or https URL that the file is fetched from before the message is accepted",
        json_schema_extra={"format": "uri", "maxLength": MAX_URL_CHARS},
    )

    @property
    def is_voice(self) -> bool:
        """Whether it is a voice message."""
        return False

    @property
    def file_name(self) -> str | None:
        """Under which name the file is shown."""
        return None

    def content_with(self, file: File) -> Media:
        """As the queue keeps it."""
        raise NotImplementedError


_CAPTION: Final[Any] = Field(
    "",
    description=f"at most {rules.MAX_CAPTION_CHARS} characters, shown below",
    json_schema_extra=_bounds(0, rules.MAX_CAPTION_CHARS),
)


class ImageIn(MediaIn):
    """A picture: JPEG, PNG or WebP."""

    kind = Image
    type: Literal["image"] = Field(description="image")
    caption: str = _CAPTION

    def content_with(self, file: File) -> Image:
        """As the queue keeps it."""
        return Image(file=file, caption=self.caption, reply_to=self.reply())


class VideoIn(MediaIn):
    """A film: MP4 or 3GP."""

    kind = Video
    type: Literal["video"] = Field(description="video")
    caption: str = _CAPTION

    def content_with(self, file: File) -> Video:
        """As the queue keeps it."""
        return Video(file=file, caption=self.caption, reply_to=self.reply())


class AudioIn(MediaIn):
    """Sound: Ogg, MP3, MP4, AAC or AMR; as a voice message Opus in Ogg."""

    kind = Audio
    type: Literal["audio"] = Field(description="audio")
    voice: bool = Field(False, description="true or false: show it as a voice message")

    @property
    def is_voice(self) -> bool:
        """Whether it is a voice message."""
        return self.voice

    def content_with(self, file: File) -> Audio:
        """As the queue keeps it."""
        return Audio(file=file, voice=self.voice, reply_to=self.reply())


class DocumentIn(MediaIn):
    """Any file, shown with its name."""

    kind = Document
    type: Literal["document"] = Field(description="document")
    name: str | None = Field(
        None,
        description=f"the file's name, {_ONE_LINE}, without folders",
        json_schema_extra=_LINE,
    )
    caption: str = _CAPTION

    @property
    def file_name(self) -> str | None:
        """Under which name the file is shown."""
        return self.name

    def content_with(self, file: File) -> Document:
        """As the queue keeps it."""
        return Document(file=file, caption=self.caption, reply_to=self.reply())


class StickerIn(MediaIn):
    """A WebP picture without frame."""

    kind = Sticker
    type: Literal["sticker"] = Field(description="sticker")

    def content_with(self, file: File) -> Sticker:
        """As the queue keeps it."""
        return Sticker(file=file, reply_to=self.reply())


class LocationIn(_Replying):
    """A place, WGS 84."""

    type: Literal["location"] = Field(description="location")
    latitude: float = Field(
        description="degrees from -90 to 90", json_schema_extra={"minimum": -90, "maximum": 90}
    )
    longitude: float = Field(
        description="degrees from -180 to 180", json_schema_extra={"minimum": -180, "maximum": 180}
    )
    name: str = Field("", description=f"{_ONE_LINE}, or left out", json_schema_extra=_LINE_OR_NONE)
    address: str = Field("", description=f"{_ONE_LINE}, or left out", json_schema_extra=_LINE_OR_NONE)

    def content(self) -> Location:
        """As the queue keeps it."""
        return Location(
            latitude=self.latitude,
            longitude=self.longitude,
            name=self.name,
            address=self.address,
            reply_to=self.reply(),
        )


class ContactIn(_Replying):
    """Somebody's card."""

    type: Literal["contact"] = Field(description="contact")
    name: str = Field(description=_ONE_LINE, json_schema_extra=_LINE)
    phone: str = Field(min_length=1, max_length=40, description="a phone number with country code")

    def content(self) -> Contact:
        """As the queue keeps it."""
        return Contact(name=self.name, phone=self.phone, reply_to=self.reply())


class PollIn(NewMessageIn):
    """A question with options."""

    type: Literal["poll"] = Field(description="poll")
    question: str = Field(
        description=f"one line of 1 to {rules.MAX_QUESTION_CHARS} characters",
        json_schema_extra=_bounds(1, rules.MAX_QUESTION_CHARS),
    )
    options: list[Annotated[str, Field(json_schema_extra=_bounds(1, rules.MAX_OPTION_CHARS))]] = Field(
        description=f"an array of 2 to 12 different lines of 1 to {rules.MAX_OPTION_CHARS} characters",
        json_schema_extra={"minItems": 2, "maxItems": 12, "uniqueItems": True},
    )
    choices: int = Field(
        1,
        description="a whole number from 0 (any number may be chosen) to the number of options",
        json_schema_extra={"minimum": 0, "maximum": 12},
    )

    def content(self) -> Poll:
        """As the queue keeps it."""
        return Poll(question=self.question, options=tuple(self.options), choices=self.choices)


class ReactionIn(NewMessageIn):
    """An emoji on a message."""

    type: Literal["reaction"] = Field(description="reaction")
    message: TargetIn = Field(description="an object with the id of the message, and its sender")
    emoji: str = Field(
        description="one emoji, or empty to take the reaction away",
        json_schema_extra={"maxLength": rules.MAX_EMOJI_CHARS},
    )

    def content(self) -> Reaction:
        """As the queue keeps it."""
        return Reaction(to=self.message.ref(), emoji=self.emoji)


AnyMessageIn: TypeAlias = (
    TextIn
    | ImageIn
    | VideoIn
    | AudioIn
    | DocumentIn
    | StickerIn
    | LocationIn
    | ContactIn
    | PollIn
    | ReactionIn
)

KINDS: Final[dict[str, type[AnyMessageIn]]] = {
    "text": TextIn,
    "image": ImageIn,
    "video": VideoIn,
    "audio": AudioIn,
    "document": DocumentIn,
    "sticker": StickerIn,
    "location": LocationIn,
    "contact": ContactIn,
    "poll": PollIn,
    "reaction": ReactionIn,
}
"""The kinds by their `type`."""


class BatchIn(Input):
    """Many messages, kept all or none."""

    messages: list[Any] = Field(
        min_length=1,
        max_length=limits.BATCH_MESSAGES,
        description=f"an array of 1 to {limits.BATCH_MESSAGES} messages",
        json_schema_extra={"items": {"$ref": "#/components/schemas/NewMessage"}},
    )


def model_of(body: dict[str, Any]) -> type[AnyMessageIn]:
    """The model that a message is of. Raises InvalidInput for a `type` that there is not."""
    kind = body.get("type", "text")
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise InvalidInput("type", f"{shown(kind)}: must be one of {', '.join(KINDS)}")
    return model

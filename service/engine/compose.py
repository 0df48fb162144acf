"""A message as WhatsApp knows it, from its content: protobuf in, protobuf out, nothing else.

Which field means what stands in whatsmeow's send.go (BuildPollCreation, BuildReaction, the example of
Upload) and in what the official clients send. Beside `client`, the only module that imports neonize.
"""

import time
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Final

from neonize.proto.waCommon.WACommon_pb2 import MessageKey
from neonize.proto.waE2E.WAWebProtobufsE2E_pb2 import (
    AudioMessage,
    ContactMessage,
    ContextInfo,
    DocumentMessage,
    ExtendedTextMessage,
    FutureProofMessage,
    ImageMessage,
    LocationMessage,
    Message,
    MessageContextInfo,
    PollCreationMessage,
    ReactionMessage,
    StickerMessage,
    VideoMessage,
)

from service.engine.content import (
    AnyContent,
    Audio,
    Contact,
    Content,
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
from service.engine.uploads import Uploaded
from service.engine.vcard import vcard

GROUP_SERVER: Final = "g.us"
LID_SERVER: Final = "lid"

_NO_NAME: Final = "file"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a message needs beside its content.

    `own_pn` and `own_lid` are our own JIDs without device; `uploaded` belongs to the content's file.
    """

    chat: str
    own_pn: str
    own_lid: str
    uploaded: Uploaded | None = None


def compose(content: AnyContent, secret: bytes, circumstances: Circumstances) -> Any:
    """The Message to send. `secret` (32 bytes) makes it findable, and is the key of the votes of a poll."""
    message = _message(content, circumstances)
    message.messageContextInfo.CopyFrom(MessageContextInfo(messageSecret=secret))
    return message


_KINDS: Final = {
    "conversation": "text",
    "extendedTextMessage": "text",
    "imageMessage": "image",
    "videoMessage": "video",
    "ptvMessage": "video",
    "audioMessage": "audio",
    "documentMessage": "document",
    "stickerMessage": "sticker",
    "lottieStickerMessage": "sticker",
    "locationMessage": "location",
    "liveLocationMessage": "location",
    "contactMessage": "contact",
    "contactsArrayMessage": "contact",
    "pollCreationMessage": "poll",
    "pollCreationMessageV2": "poll",
    "pollCreationMessageV3": "poll",
    "reactionMessage": "reaction",
}


def kind_of(message: Any) -> str:
    """What a received Message is, by the names of `content`; "other" for what has no such name."""
    return next((_KINDS[field.name] for field, _ in message.ListFields() if field.name in _KINDS), "other")


_KEY: Final = "senderKeyDistributionMessage"


def is_told(message: Any) -> bool:
    """False for a key that comes on its own, in front of somebody's first message to a group."""
    names = {field.name for field, _ in message.ListFields()}
    return _KEY not in names or bool(names - {_KEY, "messageContextInfo"})


@singledispatch
def _message(content: Content, _: Circumstances) -> Any:
    raise TypeError(f"{type(content).__name__} is no kind of content")


@_message.register
def _text(content: Text, to: Circumstances) -> Any:
    if content.reply_to is None:
        return Message(conversation=content.text)
    text = ExtendedTextMessage(text=content.text, contextInfo=_quotation(content.reply_to, to))
    return Message(extendedTextMessage=text)


@_message.register
def _image(content: Image, to: Circumstances) -> Any:
    return Message(
        imageMessage=ImageMessage(**_media(content.file, content.reply_to, to), **_caption(content))
    )


@_message.register
def _video(content: Video, to: Circumstances) -> Any:
    return Message(
        videoMessage=VideoMessage(**_media(content.file, content.reply_to, to), **_caption(content))
    )


@_message.register
def _audio(content: Audio, to: Circumstances) -> Any:
    media = _media(content.file, content.reply_to, to)
    return Message(audioMessage=AudioMessage(**media, seconds=_uploaded(to).seconds, PTT=content.voice))


@_message.register
def _document(content: Document, to: Circumstances) -> Any:
    name = content.file.name or _NO_NAME
    media = _media(content.file, content.reply_to, to)
    document = DocumentMessage(**media, **_caption(content), fileName=name, title=name)
    if not content.caption:
        return Message(documentMessage=document)
    inner = FutureProofMessage(message=Message(documentMessage=document))  # or the caption is not shown
    return Message(documentWithCaptionMessage=inner)


@_message.register
def _sticker(content: Sticker, to: Circumstances) -> Any:
    media = _media(content.file, content.reply_to, to)
    return Message(stickerMessage=StickerMessage(**media, isAnimated=_uploaded(to).animated))


@_message.register
def _location(content: Location, to: Circumstances) -> Any:
    place = LocationMessage(
        degreesLatitude=content.latitude,
        degreesLongitude=content.longitude,
        name=content.name or None,
        address=content.address or None,
        contextInfo=_quotation(content.reply_to, to),
    )
    return Message(locationMessage=place)


@_message.register
def _contact(content: Contact, to: Circumstances) -> Any:
    card = ContactMessage(
        displayName=content.name,
        vcard=vcard(content.name, content.phone),
        contextInfo=_quotation(content.reply_to, to),
    )
    return Message(contactMessage=card)


@_message.register
def _poll(content: Poll, _: Circumstances) -> Any:
    options = [PollCreationMessage.Option(optionName=option) for option in content.options]
    poll = PollCreationMessage(name=content.question, options=options, selectableOptionsCount=content.choices)
    return Message(pollCreationMessage=poll)


@_message.register
def _reaction(content: Reaction, to: Circumstances) -> Any:
    sender = content.to.sender
    ours = sender is None or sender in {to.own_pn, to.own_lid}
    in_group = to.chat.endswith(f"@{GROUP_SERVER}")
    key = MessageKey(
        remoteJID=to.chat,
        fromMe=ours,
        ID=content.to.id,
        participant=_author(content.to, to) if in_group and not ours else None,
    )
    at_ms = time.time_ns() // 1_000_000
    return Message(reactionMessage=ReactionMessage(key=key, text=content.emoji, senderTimestampMS=at_ms))


def _media(file: File, reply_to: MessageRef | None, to: Circumstances) -> dict[str, Any]:
    uploaded = _uploaded(to).response
    return {
        "URL": uploaded.url,
        "directPath": uploaded.DirectPath,
        "mediaKey": uploaded.MediaKey,
        "mediaKeyTimestamp": int(time.time()),
        "fileEncSHA256": uploaded.FileEncSHA256,
        "fileSHA256": uploaded.FileSHA256,
        "fileLength": uploaded.FileLength,
        "mimetype": file.media_type,
        "contextInfo": _quotation(reply_to, to),
    }


def _uploaded(to: Circumstances) -> Uploaded:
    assert to.uploaded is not None, "a message with a file is composed when the file was uploaded"
    return to.uploaded


def _caption(content: Image | Video | Document) -> dict[str, str]:
    return {"caption": content.caption} if content.caption else {}


def _quotation(reply_to: MessageRef | None, to: Circumstances) -> Any:
    if reply_to is None:
        return None
    return ContextInfo(
        stanzaID=reply_to.id,
        participant=_author(reply_to, to),
        quotedMessage=Message(conversation=reply_to.text),
    )


def _author(ref: MessageRef, to: Circumstances) -> str:
    """Who wrote it. We are named in the form in which the chat knows its people."""
    if ref.sender is not None:
        return ref.sender
    return to.own_lid if to.own_lid and to.chat.endswith(f"@{LID_SERVER}") else to.own_pn

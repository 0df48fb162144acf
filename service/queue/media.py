"""Which files may be sent as what: media types, and how their bytes begin.

A file that is not what its media type says would go out and never be shown; so it is refused here, where
somebody can still be told.
"""

import mimetypes
import re
from collections.abc import Callable
from typing import Final

from service.engine.content import Audio, Document, Image, Media, Sticker, Video
from service.errors import InvalidInput

MEDIA_TYPES: Final[dict[type[Media], tuple[str, ...] | None]] = {
    Image: ("image/jpeg", "image/png", "image/webp"),
    Video: ("video/mp4", "video/3gpp"),
    Audio: ("audio/ogg", "audio/mpeg", "audio/mp4", "audio/aac", "audio/amr"),
    Sticker: ("image/webp",),
    Document: None,
}
"""Which media types phones show as each kind; None allows every one."""

VOICE_TYPES: Final = ("audio/ogg",)
"""A voice message is Opus in Ogg."""

ANYTHING: Final = "application/octet-stream"
"""What a media type says that says nothing (RFC 2046 section 4.5.1)."""

_FORM: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")  # RFC 6838
_SAYS_NOTHING: Final = frozenset({ANYTHING, "binary/octet-stream", "application/binary"})
_SAME: Final = {
    "image/jpg": "image/jpeg",
    "audio/mp3": "audio/mpeg",
    "audio/x-m4a": "audio/mp4",
    "audio/m4a": "audio/mp4",
    "audio/opus": "audio/ogg",
    "application/ogg": "audio/ogg",
    "audio/x-aac": "audio/aac",
}
"""Names that servers use beside the registered ones."""


def _is_mpeg(data: bytes) -> bool:
    """An ID3 tag, or the first frame: eleven bits of sync, a layer."""
    return data[:3] == b"ID3" or (len(data) > 1 and data[0] == 0xFF and data[1] >= 0xE0 and bool(data[1] & 6))


def _is_iso_media(data: bytes) -> bool:
    return data[4:8] == b"ftyp"


_BEGINS: Final[dict[str, Callable[[bytes], bool]]] = {
    "image/jpeg": lambda data: data[:3] == b"\xff\xd8\xff",
    "image/png": lambda data: data[:8] == b"\x89PNG\r\n\x1a\n",
    "image/webp": lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP",
    "video/mp4": _is_iso_media,
    "video/3gpp": _is_iso_media,
    "audio/ogg": lambda data: data[:4] == b"OggS",
    "audio/mpeg": _is_mpeg,
    "audio/mp4": _is_iso_media,
    "audio/aac": lambda data: data[:4] == b"ADIF" or data[:2] in {b"\xff\xf1", b"\xff\xf9"},
    "audio/amr": lambda data: data[:5] == b"#!AMR",
}


def allowed_media_types(kind: type[Media], *, voice: bool = False) -> tuple[str, ...] | None:
    """The media types that may be sent as this kind; None when every one may."""
    return VOICE_TYPES if voice else MEDIA_TYPES[kind]


def check_media_type(media_type: str, kind: type[Media], *, voice: bool, field: str) -> None:
    """Raises InvalidInput for a media type (no parameters) that is not sent as this kind."""
    allowed = allowed_media_types(kind, voice=voice)
    if not _FORM.fullmatch(media_type):
        raise InvalidInput(field, "must have a media type such as application/pdf")
    if allowed is not None and media_type not in allowed:
        raise InvalidInput(field, f"{_named(kind, voice)} must be {' or '.join(allowed)}, not {media_type}")


def media_type_of(
    data: bytes, *, stated: str | None, name: str | None, kind: type[Media], voice: bool, field: str
) -> str:
    """The media type under which these bytes are sent as this kind: what is `stated` of them, if that says
    anything, else what they look like.

    Raises InvalidInput for what cannot be sent as this kind, or is not what it is said to be.
    """
    if not data:
        raise InvalidInput(field, "must not be empty")
    given = (stated or ANYTHING).partition(";")[0].strip().lower()
    media_type = _SAME.get(given, given)
    if media_type in _SAYS_NOTHING:
        media_type = _guessed(data, name, allowed_media_types(kind, voice=voice))
    check_media_type(media_type, kind, voice=voice, field=field)
    if kind is not Document and not _BEGINS[media_type](data):
        raise InvalidInput(field, f"its bytes are not {media_type}")
    if voice and b"OpusHead" not in data[:256]:
        raise InvalidInput(field, "a voice message must be Opus in Ogg; this Ogg holds something else")
    return media_type


def _guessed(data: bytes, name: str | None, allowed: tuple[str, ...] | None) -> str:
    if allowed is None:
        return (mimetypes.guess_type(name)[0] if name else None) or ANYTHING
    return next((one for one in allowed if _BEGINS[one](data)), ANYTHING)


def _named(kind: type[Media], voice: bool) -> str:
    return (
        "a voice message" if voice else f"{'an' if kind.__name__[0] in 'AI' else 'a'} {kind.__name__.lower()}"
    )

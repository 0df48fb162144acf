"""What a file says of itself in its first and last bytes, where WhatsApp wants to be told."""

from typing import Final

OPUS_RATE: Final = 48_000
"""Samples a second in which an Ogg page counts Opus, whatever was recorded (RFC 7845 section 4)."""

_OGG_PAGE: Final = b"OggS"
_OPUS_HEAD: Final = b"OpusHead"
_WEBP_ANIMATION: Final = 0x02


def opus_seconds(data: bytes) -> int | None:
    """How long Opus in Ogg plays, at least 1 s; None for anything else.

    The last page holds the number of samples, of which the first `pre-skip` are not played.
    """
    head, last = data.find(_OPUS_HEAD, 0, 256), data.rfind(_OGG_PAGE)
    if not data.startswith(_OGG_PAGE) or head < 0 or len(data) < max(head + 12, last + 14):
        return None
    samples = int.from_bytes(data[last + 6 : last + 14], "little", signed=True)
    skipped = int.from_bytes(data[head + 10 : head + 12], "little")
    return None if samples < skipped else max(1, round((samples - skipped) / OPUS_RATE))


def webp_moves(data: bytes) -> bool:
    """Whether a WebP picture is animated: a flag of its VP8X chunk (RFC 9649 section 2.7)."""
    extended = data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8X"
    return extended and len(data) > 20 and bool(data[20] & _WEBP_ANIMATION)

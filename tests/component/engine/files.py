"""Small files of each kind, valid as far as anybody looks, made from nothing."""

import hashlib
import io
import struct
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from service.engine.content import File


@dataclass(frozen=True)
class Kept:
    """A file on the disk, and what content says of it."""

    path: Path
    file: File


def keep(folder: Path, data: bytes, media_type: str, name: str | None = None) -> Kept:
    sha256 = hashlib.sha256(data).hexdigest()
    path = folder / sha256
    path.write_bytes(data)
    return Kept(path, File(sha256=sha256, media_type=media_type, size_bytes=len(data), name=name))


def picture(kind: str = "PNG", *, frames: int = 1) -> bytes:
    images = [Image.new("RGBA", (64, 64), (40 * frame, 80, 160, 255)) for frame in range(frames)]
    out = io.BytesIO()
    images[0].save(out, kind, save_all=frames > 1, append_images=images[1:])
    return out.getvalue()


def ogg_page(samples: int, payload: bytes) -> bytes:
    return b"OggS\0\0" + struct.pack("<qIII", samples, 1, 0, 0) + bytes([1, len(payload)]) + payload


def opus(seconds: int, *, pre_skip: int = 312) -> bytes:
    """Ogg pages of Opus with the granule positions of that much sound."""
    head = b"OpusHead\x01\x01" + struct.pack("<HIhB", pre_skip, 16_000, 0, 0)
    return ogg_page(0, head) + ogg_page(0, b"OpusTags") + ogg_page(48_000 * seconds + pre_skip, b"sound")

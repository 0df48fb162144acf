"""Whether a session on the disk has lost its last transactions.

Of a log (`-wal`) that is damaged SQLite uses what comes before the damage, and of one that is gone nothing,
without a word: the session is then an earlier one, whose ratchets have been used since. So the log is looked
at for what SQLite passes over, and at how much of it the last process knew. That must come before anybody
opens the database, for then what a killed process knew is forgotten.

Format: https://www.sqlite.org/fileformat2.html#walformat and https://www.sqlite.org/walformat.html.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HEADER: Final = struct.Struct(">8I")  # magic, version, page size, checkpoints, salts, checksums
_FRAME: Final = struct.Struct(">6I")  # page, pages after a commit or 0, salts, checksums
_MAGIC: Final = 0x377F0682
_INDEX: Final = struct.Struct(
    "=3I2BH2I"
)  # version, unused, change, initialised, order, page size, frames, pages
_EARLIER: Final = 1 << 16
"""So many generations back a frame's first salt may lie that is left of an earlier use of the log."""


@dataclass(frozen=True, slots=True)
class _Log:
    """`frames`: how many SQLite would use; `whole`: nothing of the same generation comes after them."""

    frames: int
    whole: bool


def behind(database: Path) -> bool:
    """Has this database lost what a process had committed. Blocks; may raise OSError.

    A process that was killed in the middle of a write may look like it, too. A log that was removed together
    with its index is not noticed.
    """
    log = _log(_bytes(database, "-wal"))
    return not log.whole or _frames_known(_bytes(database, "-shm")) > log.frames


def _bytes(database: Path, suffix: str) -> bytes:
    try:
        return database.with_name(database.name + suffix).read_bytes()
    except FileNotFoundError:
        return b""


def _frames_known(index: bytes) -> int:
    """How many frames the last process knew of."""
    if len(index) < _INDEX.size:
        return 0
    _, _, _, initialised, _, _, frames, _ = _INDEX.unpack_from(index)
    return int(frames) if initialised else 0


def _log(data: bytes) -> _Log:
    if not data:
        return _Log(0, whole=True)
    if len(data) < _HEADER.size:
        return _Log(0, whole=False)
    magic, _, page_bytes, _, *salts, first, second = _HEADER.unpack_from(data)
    words = struct.Struct(">2I" if magic & 1 else "<2I")
    checksum = _checksum(data[: _HEADER.size - 8], words, (0, 0))
    if magic & ~1 != _MAGIC or checksum != (first, second):
        return _Log(0, whole=False)
    at, size, committed = _HEADER.size, _FRAME.size + page_bytes, 0
    frames = 0
    while at + size <= len(data):
        _, pages, *salt, first, second = _FRAME.unpack_from(data, at)
        checksum = _checksum(data[at : at + 8], words, checksum)
        checksum = _checksum(data[at + _FRAME.size : at + size], words, checksum)
        if salt != salts or checksum != (first, second):
            return _Log(committed, whole=_left_over(data[at:], size, salts))
        at, frames = at + size, frames + 1
        if pages:
            committed = frames
    return _Log(committed, whole=at == len(data))


def _left_over(rest: bytes, size: int, salts: list[int]) -> bool:
    """Everything there is of earlier generations."""
    for at in range(0, len(rest) - size + 1, size):
        _, _, *salt, _, _ = _FRAME.unpack_from(rest, at)
        if salt == salts or not 0 < (salts[0] - salt[0]) & 0xFFFFFFFF < _EARLIER:
            return False
    return True


def _checksum(data: bytes, words: struct.Struct, start: tuple[int, int]) -> tuple[int, int]:
    one, two = start
    for first, second in words.iter_unpack(data):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two

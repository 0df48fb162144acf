"""What says in the vault that a session was ended on purpose: what is kept of it comes back no more.

What is kept later is not meant, so a phone that is linked anew ends it without another word.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from service.errors import BackupUnreadable


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Backups up to `sequence` are of that session; the owner of `epoch` ended it."""

    sequence: int
    epoch: int

    def encode(self) -> bytes:
        """As it is kept."""
        numbers = f"{self.sequence} {self.epoch}"
        return f"{numbers} {_digest(numbers)}\n".encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The opposite. Raises BackupUnreadable."""
        numbers, _, digest = data.decode("ascii", "replace").rstrip("\n").rpartition(" ")
        if digest != _digest(numbers):
            raise BackupUnreadable("the mark of a session that was ended is damaged")
        sequence, _, epoch = numbers.partition(" ")
        return cls(int(sequence), int(epoch))


def _digest(numbers: str) -> str:
    return sha256(f"beacon tombstone {numbers}".encode()).hexdigest()

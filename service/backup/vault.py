"""What every place that keeps backups promises. One conformance suite checks it on each of them.

A vault sees sealed bytes only: what it lists is not proven, a manifest is. Every method raises
VaultUnavailable (nothing was changed) when it cannot be used, VaultFull when it has no room. A vault belongs
to one account; several accounts may share a place.

Whoever is cut off at the very end of a `put` cannot know whether it counted: VaultUnavailable then too, and
the same `put` again is right in both cases.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from service.backup.model import Kept, Sealed
from service.backup.tombstone import Tombstone


class Vault(Protocol):
    """Sealed backups of one account."""

    async def open(self) -> None:
        """Connect, and make or migrate what is needed. Raises StoreTooNew."""

    async def close(self) -> None:
        """Release everything."""

    async def enter(self) -> int:
        """Begin a new epoch, durably, and answer it: 1 at first, then always one more. From now on, what an
        earlier epoch writes is refused."""

    async def epoch(self) -> int:
        """The epoch that was entered last; 0 before the first."""

    async def bury(self, *, epoch: int) -> Tombstone:
        """Note, durably, that what is kept so far is of a session that was ended on purpose. Raises
        FenceTooOld when a later epoch was entered."""

    async def tombstone(self) -> Tombstone | None:
        """What was noted last; None: nothing ever. Raises BackupUnreadable."""

    async def listed(self) -> Sequence[Kept]:
        """All backups, the latest first. Only whole ones: a `put` that was cut short left nothing here. One
        that was damaged since is listed all the same."""

    async def manifest(self, sequence: int) -> bytes:
        """A sealed manifest. Raises BackupUnreadable when it is listed but cannot be had, else KeyError."""

    async def missing(self, chunk_ids: Collection[str]) -> set[str]:
        """Which of these are not kept yet."""

    async def chunks(self, chunk_ids: Collection[str]) -> Mapping[str, bytes]:
        """Sealed chunks. Raises BackupUnreadable when one is not there."""

    async def put(self, sealed: Sealed, chunks: Mapping[str, bytes], *, epoch: int) -> None:
        """Keep a backup with those chunks that were missing: all of it, durably, or nothing. A chunk handed
        over replaces the one that is kept, which mends it. The very backup that is kept already is kept once.

        Raises FenceTooOld when a later epoch was entered, ValueError when its sequence is not above all that
        are kept, BackupUnreadable when a chunk that was there before is there no more."""

    async def verified(self, sequence: int, *, at: float) -> None:
        """Note that it was fetched and checked as a restore would. Raises KeyError."""

    async def forget(self, sequences: Collection[int]) -> int:
        """Remove backups, and the chunks that no other names; how many bytes that freed."""

"""Where the session lives, as its backups and its custody meet it: a file, or tables in a database."""

import asyncio
from pathlib import Path
from typing import Protocol

from service.backup.local import Found, Lineage, Local, SessionOnDisk
from service.backup.schedule import Signature
from service.backup.snapshot import drop_ratchets, take_snapshot


class Home(Protocol):
    """One account's session. What is a database raises StoreUnavailable when it is away, and StoreError when
    it refuses; what is a file raises OSError and DataDirUnusable."""

    @property
    def place(self) -> str:
        """Where that is, for people."""

    @property
    def shared(self) -> bool:
        """Whether other machines reach it, too: then it is touched under the lease alone."""

    async def open(self, fence: int) -> bool:
        """To be called under each lease, of that number, before anything else. Whether the session was put
        back to an earlier state, behind our back, since it was last taken over."""

    async def behind(self) -> bool:
        """Whether the session lost transactions that were committed; it has another identity then. To be
        asked before anything opens it. Raises BackupError, DataDirUnusable."""

    async def look(self) -> Found:
        """What there is. Raises BackupError when that cannot be found out now."""

    async def cleared(self) -> bool:
        """The operator removed a session here, and no other has been backed up since."""

    async def replaced_by_another(self) -> None:
        """The session that is here now is backed up; what was cleared before is of the past."""

    async def identity(self) -> str:
        """As SessionFile.identity."""

    async def lineage(self) -> Lineage | None:
        """What is known of the session that is here; None: nothing."""

    async def note(
        self, *, epoch: int, fence: int, adopted: bool = False, clean_at: float | None = None
    ) -> None:
        """Write down, durably, what is known now of the session that is here."""

    async def adopt(self) -> None:
        """A phone was linked here: whatever its number, the session is this account's. Our turn goes on."""

    async def copy(self, target: Path) -> None:
        """Write the session as it is at one moment into a new file (mode 0600), as SQLite has it; the engine
        goes on meanwhile. Raises SnapshotRefused, BackupError."""

    async def resemble(self, copy: Path) -> None:
        """The newest backup is this file: the more the next copy is like it, page by page, the better."""

    async def drop_ratchets(self) -> int:
        """As `service.backup.snapshot.drop_ratchets`, while no engine runs. Raises BackupError."""

    async def set_aside(self, label: str, *, now: float) -> None:
        """Move the session out of the way; of such sessions the latest three stay."""

    async def replace(self, restored: Path, *, identity: str | None, aside: str | None, now: float) -> None:
        """Put a restored session in the place of what is here, which is set aside under that label. With
        `identity` it is the very session that had this one, without it an earlier state. Raises
        BackupUnreadable when it cannot live here; then nothing was changed."""

    async def signature(self) -> Signature:
        """What changes when the session is written; cheap."""

    async def close(self) -> None:
        """Release everything."""


class FileHome:
    """A session in a file of this machine's."""

    shared = False

    def __init__(self, session: SessionOnDisk) -> None:
        self._session = session
        self._local = Local(session)

    @property
    def place(self) -> str:
        """The file."""
        return str(self._local.path)

    async def open(self, fence: int) -> bool:  # noqa: ARG002
        """Nobody puts a file back behind our back without losing the notes beside it."""
        return False

    async def behind(self) -> bool:
        """As Local.behind."""
        return await asyncio.to_thread(self._local.behind)

    async def look(self) -> Found:
        """As Local.look."""
        return await asyncio.to_thread(self._local.look)

    async def cleared(self) -> bool:
        """There is a mark beside where the file was."""
        return self._session.cleared

    async def replaced_by_another(self) -> None:
        """The mark goes."""
        await asyncio.to_thread(self._session.replaced_by_another)

    async def identity(self) -> str:
        """Kept beside the file."""
        return await asyncio.to_thread(self._session.identity)

    async def lineage(self) -> Lineage | None:
        """As Local.lineage."""
        return await asyncio.to_thread(self._local.lineage)

    async def note(
        self, *, epoch: int, fence: int, adopted: bool = False, clean_at: float | None = None
    ) -> None:
        """As Local.note."""
        await asyncio.to_thread(
            self._local.note, epoch=epoch, fence=fence, adopted=adopted, clean_at=clean_at
        )

    async def adopt(self) -> None:
        """As Local.adopt."""
        await asyncio.to_thread(self._local.adopt)

    async def copy(self, target: Path) -> None:
        """Page by page, with SQLite's backup interface."""
        await asyncio.to_thread(take_snapshot, self._local.path, target)

    async def resemble(self, copy: Path) -> None:
        """Pages of the file are where they were."""

    async def drop_ratchets(self) -> int:
        """In the file itself."""
        return await asyncio.to_thread(drop_ratchets, self._local.path)

    async def set_aside(self, label: str, *, now: float) -> None:
        """As Local.set_aside."""
        await asyncio.to_thread(self._local.set_aside, label, now=now)

    async def replace(self, restored: Path, *, identity: str | None, aside: str | None, now: float) -> None:
        """The file takes the other's place."""
        if aside is not None:
            await self.set_aside(aside, now=now)
        await asyncio.to_thread(self._local.put_back, restored, identity=identity)

    async def signature(self) -> Signature:
        """Of the file and its log; never opens them."""
        return await asyncio.to_thread(_signature, self._local.path)

    async def close(self) -> None:
        """Nothing is open."""


def _signature(session: Path) -> Signature:
    """An empty log is as good as none: reading makes one."""
    found = []
    for path in (session, session.with_name(session.name + "-wal")):
        try:
            stat = path.stat()
        except FileNotFoundError:
            found.append((0, 0))
        else:
            found.append((stat.st_size, stat.st_mtime_ns if stat.st_size else 0))
    return tuple(found)

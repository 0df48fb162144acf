"""How backups lie in a folder, so that a process may be killed, or the power go, at any instruction.

    PATH/ACCOUNT/lock                   flock: one writer at a time, across processes
                 format.1               the layout, this one
                 epoch.N                N is the epoch that was entered last
                 tombstone              which backups are of a session that was ended on purpose
                 backups/SEQUENCE       what is listed of a backup, then its sealed manifest
                 backups/SEQUENCE.verified
                 chunks/ID              a sealed chunk

A file is written beside its place, brought to the disk and then renamed, and its folder is brought to the
disk too: it is there whole or not at all. A backup exists from the moment that its file in `backups` does,
and its chunks are there before; chunks that a killed process left without a backup go with the next `forget`.
What stands in a name (the epoch, a sequence) cannot be damaged as the bytes of a file can.
"""

import errno
import fcntl
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import structlog

from service.backup.model import Kept, Sealed
from service.backup.tombstone import Tombstone
from service.clock import is_instant
from service.errors import BackupUnreadable, FenceTooOld, StoreTooNew, VaultUnavailable

log = structlog.get_logger(__name__)

FORMAT: Final = 1

_ASK_AGAIN_S: Final = 0.02
_SEQUENCE: Final = re.compile(r"([1-9]\d{0,17})")
_EPOCH: Final = re.compile(r"epoch\.([1-9]\d{0,17})")
_FORMAT: Final = re.compile(r"format\.(\d{1,9})")
_CHUNK: Final = re.compile(r"[0-9a-f]{1,128}")
_FRESH: Final = ".new"


class _Header(msgspec.Struct, frozen=True):
    """What a backup's file says under the line of its SHA-256: one line of JSON."""

    kept: Kept
    chunk_ids: tuple[str, ...]


class Directory:
    """One account's folder. Every method may raise OSError."""

    def __init__(self, root: Path, *, account: str, lock_wait_s: float) -> None:
        self._root = root
        self._folder = root / account
        self._backups = self._folder / "backups"
        self._chunks = self._folder / "chunks"
        self._lock_wait_s = lock_wait_s

    def make(self) -> None:
        """Make what is missing. Raises StoreTooNew."""
        if _make(self._root):
            _to_disk(self._root.parent)
        _make(self._folder)
        _to_disk(self._root)
        newest = max(_numbers(self._folder, _FORMAT), default=0)
        if newest > FORMAT:
            raise StoreTooNew(
                f"backup folder of format {newest}: this program knows up to {FORMAT}; "
                "start the newer one again"
            )
        os.close(os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with self._locked():
            for folder in (self._backups, self._chunks):
                _make(folder)
            if not newest:
                _write(self._folder / f"format.{FORMAT}", b"")
            _to_disk(self._folder)

    # --- epochs -----------------------------------------------------------------------------------

    def epoch(self) -> int:
        """The last one entered, or one that a backup tells of."""
        entered = max(_numbers(self._folder, _EPOCH), default=0)
        return max(entered, *(kept.epoch for kept in self.listed()), 0)

    def enter(self) -> int:
        """Begin the next epoch."""
        with self._locked():
            epoch = self.epoch() + 1
            _write(self._folder / f"epoch.{epoch}", b"")
            _to_disk(self._folder)
            for older in _numbers(self._folder, _EPOCH) - {epoch}:
                (self._folder / f"epoch.{older}").unlink()
        return epoch

    def bury(self, epoch: int) -> Tombstone:
        """Note that what is kept so far is of a session that was ended. Raises FenceTooOld."""
        with self._locked():
            self._refuse_late(epoch)
            tombstone = Tombstone(max(_numbers(self._backups, _SEQUENCE), default=0), epoch)
            _write(self._folder / "tombstone", tombstone.encode())
            _to_disk(self._folder)
            return tombstone

    def tombstone(self) -> Tombstone | None:
        """What was noted last. Raises BackupUnreadable."""
        try:
            data = _bytes(self._folder / "tombstone")
        except FileNotFoundError:
            self._folder.stat()
            return None
        return Tombstone.decode(data)

    def _refuse_late(self, epoch: int) -> None:
        if epoch < (entered := self.epoch()):
            raise FenceTooOld(f"epoch {epoch}: epoch {entered} was entered since")

    # --- reading ----------------------------------------------------------------------------------

    def listed(self) -> list[Kept]:
        """All backups, the latest first; of a damaged one its sequence."""
        found = []
        for sequence in sorted(_numbers(self._backups, _SEQUENCE), reverse=True):
            with suppress(KeyError):  # forgotten since
                found.append(self._kept(sequence))
        return found

    def manifest(self, sequence: int) -> bytes:
        """A sealed manifest. Raises BackupUnreadable, KeyError."""
        _, manifest = self._read(sequence)
        return manifest

    def missing(self, chunk_ids: Collection[str]) -> set[str]:
        """Which of these are not here."""
        with os.scandir(self._chunks) as entries:
            return {_checked(each) for each in chunk_ids} - {entry.name for entry in entries}

    def chunk(self, chunk_id: str) -> bytes:
        """A sealed chunk. Raises BackupUnreadable."""
        try:
            return _bytes(self._chunks / _checked(chunk_id))
        except FileNotFoundError:
            self._chunks.stat()
            raise _lost({chunk_id}) from None

    def _read(self, sequence: int) -> tuple[_Header, bytes]:
        path = self._backups / str(sequence)
        with self._kept_or_not(sequence):
            data = _bytes(path)
        digest, _, rest = data.partition(b"\n")
        line, _, manifest = rest.partition(b"\n")
        if digest != sha256(line).hexdigest().encode():
            raise BackupUnreadable(f"backup {sequence}: its file is damaged")
        header = msgspec.json.decode(line, type=_Header)
        if header.kept.sequence != sequence:
            raise BackupUnreadable(f"backup {sequence}: its file is that of backup {header.kept.sequence}")
        return header, manifest

    def _kept(self, sequence: int) -> Kept:
        path = self._backups / str(sequence)
        try:
            header, _ = self._read(sequence)
        except BackupUnreadable as error:
            log.warning("backup.listing_damaged", sequence=sequence, error=str(error))
            with self._kept_or_not(sequence):
                found = path.stat()
            return Kept(
                sequence=sequence,
                epoch=0,
                taken_at=found.st_mtime,
                clean=False,
                key_id="",
                size_bytes=0,
                stored_bytes=found.st_size,
            )
        return replace(header.kept, verified_at=_instant(_verified(path)))

    @contextmanager
    def _kept_or_not(self, sequence: int) -> Iterator[None]:
        """KeyError for a file that is not there, unless the folder is not there either."""
        try:
            yield
        except FileNotFoundError:
            self._backups.stat()
            raise KeyError(sequence) from None

    # --- writing ----------------------------------------------------------------------------------

    def put(self, sealed: Sealed, chunks: Mapping[str, bytes], *, epoch: int) -> None:
        """Keep a backup, or leave no trace. Raises FenceTooOld, ValueError, BackupUnreadable."""
        with self._locked():
            sequence = sealed.kept.sequence
            kept = _numbers(self._backups, _SEQUENCE)
            if sequence in kept and self._is(sequence, sealed.manifest):
                _to_disk(self._backups)  # whoever put it may have been killed before this
                return
            self._refuse_late(epoch)
            if sequence <= max(kept, default=0):
                raise ValueError(f"sequence {sequence}: {max(kept)} is kept already")
            missing = self.missing(sealed.chunk_ids)
            if lost := missing - chunks.keys():
                raise _lost(lost)
            self._clear()
            self._keep(sealed, {each: chunks[each] for each in sealed.chunk_ids if each in chunks}, missing)

    def verified(self, sequence: int, *, at: float) -> None:
        """Note when it was checked. Raises KeyError."""
        with self._locked():
            path = self._backups / str(sequence)
            with self._kept_or_not(sequence):
                path.stat()
            _write(_verified(path), f"{at!r}\n".encode())
            _to_disk(self._backups)

    def forget(self, sequences: Collection[int]) -> int:
        """Remove backups, then the chunks that none names; the bytes freed.

        As long as a damaged listing is among those that stay, nobody knows what it names: no chunk goes.
        """
        with self._locked():
            freed = 0
            for sequence in _numbers(self._backups, _SEQUENCE) & set(sequences):
                path = self._backups / str(sequence)
                freed += _removed(path)
                _verified(path).unlink(missing_ok=True)
            _to_disk(self._backups)
            self._clear()
            try:
                named = self._named()
            except BackupUnreadable as error:
                log.warning("backup.chunks_stay", error=str(error))
                return freed
            with os.scandir(self._chunks) as entries:
                left = {entry.name for entry in entries} - named
            return freed + sum(_removed(self._chunks / each) for each in left)

    def _keep(self, sealed: Sealed, chunks: Mapping[str, bytes], missing: set[str]) -> None:
        path = self._backups / str(sealed.kept.sequence)
        try:
            for chunk_id, data in chunks.items():
                _write(self._chunks / chunk_id, data)
            _to_disk(self._chunks)
            line = msgspec.json.encode(_Header(replace(sealed.kept, verified_at=None), sealed.chunk_ids))
            digest = sha256(line).hexdigest().encode()
            _write(path, digest + b"\n" + line + b"\n" + sealed.manifest)
            _to_disk(self._backups)
        except BaseException:
            path.unlink(missing_ok=True)
            for chunk_id in missing:
                (self._chunks / chunk_id).unlink(missing_ok=True)
            raise

    def _is(self, sequence: int, manifest: bytes) -> bool:
        with suppress(BackupUnreadable):
            return self.manifest(sequence) == manifest
        return False

    def _named(self) -> set[str]:
        return {
            chunk_id
            for sequence in _numbers(self._backups, _SEQUENCE)
            for chunk_id in self._read(sequence)[0].chunk_ids
        }

    def _clear(self) -> None:
        """Remove what a killed process had not finished."""
        for folder in (self._folder, self._backups, self._chunks):
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.endswith(_FRESH):
                        Path(entry).unlink()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        try:
            until = time.monotonic() + self._lock_wait_s
            while not _taken(descriptor):
                if time.monotonic() > until:
                    raise VaultUnavailable(
                        f"backup folder: another process has written to it for {self._lock_wait_s:g} s"
                    )
                time.sleep(_ASK_AGAIN_S)
            yield
        finally:
            os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _make(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return False
    return True


def _write(path: Path, data: bytes) -> None:
    """Whole and on the disk, but for the name: that takes `_to_disk` of the folder."""
    fresh = path.with_name(path.name + _FRESH)
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        fresh.rename(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _to_disk(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno == errno.EIO:
            raise BackupUnreadable(f"{path.parent.name}/{path.name[:12]}: the disk cannot read it") from error
        raise


def _removed(path: Path) -> int:
    size_bytes = path.stat().st_size
    path.unlink()
    return size_bytes


def _numbers(folder: Path, name: re.Pattern[str]) -> set[int]:
    with os.scandir(folder) as entries:
        return {int(found[1]) for entry in entries if (found := name.fullmatch(entry.name))}


def _verified(path: Path) -> Path:
    return path.with_name(f"{path.name}.verified")


def _instant(path: Path) -> float | None:
    with suppress(FileNotFoundError, ValueError):
        at = float(path.read_bytes())
        return at if is_instant(at) else None
    return None


def _checked(chunk_id: str) -> str:
    if not _CHUNK.fullmatch(chunk_id):
        raise ValueError(f"chunk {chunk_id[:12]!r}: an id is 1 to 128 hex digits in lower case")
    return chunk_id


def _lost(chunk_ids: Collection[str]) -> BackupUnreadable:
    return BackupUnreadable(f"chunk {min(chunk_ids)[:12]}: not there any more ({len(chunk_ids)} in all)")

"""A copy of the session becomes a sealed backup, and a sealed backup the same file again.

Everything here blocks: run it in a thread.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag

from service.backup.chunks import NOTHING_HELD, PAGE_BYTES, Held, lay_out
from service.backup.compression import pack, unpack
from service.backup.keys import NONCE_BYTES, Key, Keys
from service.backup.manifests import MAGIC, seal_manifest
from service.backup.model import ChunkRef, Kept, Manifest, Run, Sealed
from service.backup.snapshot import Facts
from service.errors import BackupError, BackupUnreadable

_FORMAT: Final = b"\x01"
_SIDE_FILES: Final = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Known:
    """What the last backup holds, so that the next one stores only what is new. Not secret, never stored."""

    key_id: str
    account: str
    held: Held

    def without(self, lost: Collection[str]) -> "Known":
        """The same as if these chunks had never been kept."""
        return replace(self, held=self.held.without(lost))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A backup of which it is known what it consists of. Its file must stay as it is until it is sealed."""

    path: Path
    manifest: Manifest
    known: Known
    fresh: Mapping[str, tuple[int, ...]]
    key: Key

    @property
    def chunk_ids(self) -> tuple[str, ...]:
        """All chunks that it needs."""
        return tuple(ref.id for ref in self.manifest.chunks)

    def lost(self, missing: Collection[str]) -> set[str]:
        """Chunks that the last backup had and the vault has not. With any, prepare again without them."""
        return set(missing) - self.fresh.keys()

    def seal(self, missing: Collection[str]) -> tuple[Sealed, dict[str, bytes]]:
        """The backup, and those chunks that the vault misses. Raises BackupError when it cannot be read, or
        when `lost` is not empty."""
        if lost := self.lost(missing):
            raise BackupError(f"{len(lost)} chunks of earlier backups are not where they were kept")
        try:
            with self.path.open("rb") as file:
                sealed = {chunk: self._sealed(file, chunk) for chunk in sorted(missing)}
        except OSError as error:
            raise BackupError(f"{self.path}: {error.strerror}") from error
        manifest = seal_manifest(self.manifest, self.key)
        kept = Kept(
            sequence=self.manifest.sequence,
            epoch=self.manifest.epoch,
            taken_at=self.manifest.taken_at,
            clean=self.manifest.clean,
            key_id=self.key.id,
            size_bytes=self.manifest.size_bytes,
            stored_bytes=len(manifest) + sum(map(len, sealed.values())),
        )
        return Sealed(kept=kept, manifest=manifest, chunk_ids=self.chunk_ids), sealed

    def _sealed(self, file: BinaryIO, chunk: str) -> bytes:
        data = _read(file, self.fresh[chunk])
        if self.key.name(data, account=self.manifest.account).hex() != chunk:
            raise BackupError(f"{self.path}: changed while it was sealed")
        return _FORMAT + self.key.seal(pack(data), bound_to=_bound_to(chunk, self.manifest.account))


def prepare(
    path: Path,
    facts: Facts,
    *,
    keys: Keys,
    account: str,
    sequence: int,
    epoch: int,
    fence: int,
    taken_at: float,
    clean: bool,
    identity: str,
    known: Known | None = None,
) -> Prepared:
    """Lay out a copy of the session, given what the last backup holds. Raises BackupError."""
    key = keys.sealing
    usable = known is not None and (known.key_id, known.account) == (key.id, account)
    held = known.held if known is not None and usable else NOTHING_HELD
    try:
        with path.open("rb") as file:
            names, sha256 = _named(file, key, account)
            layout = lay_out(names, held, lambda pages: key.name(_read(file, pages), account=account).hex())
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror}") from error
    if sha256 != facts.sha256:
        raise BackupError(f"{path}: changed since it was checked")
    manifest = Manifest(
        account=account,
        sequence=sequence,
        epoch=epoch,
        fence=fence,
        taken_at=taken_at,
        clean=clean,
        identity=identity,
        device_jid=facts.device_jid,
        schema_version=facts.schema_version,
        rows=facts.rows,
        size_bytes=facts.size_bytes,
        sha256=sha256,
        key_id=key.id,
        chunks=layout.chunks,
        runs=layout.runs,
    )
    holds = Known(key.id, account, Held.of(names, layout.chunks, layout.runs))
    return Prepared(path=path, manifest=manifest, known=holds, fresh=layout.fresh, key=key)


def unseal(manifest: Manifest, sealed: Mapping[str, bytes], target: Path, keys: Keys) -> Known:
    """Write the backed-up file (mode 0600): all of it, proven and durable, or nothing.

    Answers what a next backup may build upon. Raises BackupUnreadable, BackupKeyMissing, BackupError.
    """
    key = keys.get(manifest.key_id)
    draft = target.with_name(target.name + ".part")
    try:
        try:
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as file:
                _write(file, manifest, sealed, key)
                file.seek(0)
                names, sha256 = _named(file, key, manifest.account)
                if sha256 != manifest.sha256:
                    raise BackupUnreadable("the backup's chunks do not make up the file that was backed up")
                os.fsync(file.fileno())
            put_in_place(draft, target)
        finally:
            with suppress(FileNotFoundError):
                draft.unlink()
    except OSError as error:
        raise BackupError(f"{target}: {error.strerror}") from error
    return Known(key.id, manifest.account, Held.of(names, manifest.chunks, manifest.runs))


def put_in_place(source: Path, target: Path) -> None:
    """Rename a file that is whole and on the disk to a database's name, durably, and never beside the journal
    of another one. Raises BackupError."""
    try:
        for suffix in _SIDE_FILES:
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        source.replace(target)
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise BackupError(f"{target}: {error.strerror}") from error


def _write(file: BinaryIO, manifest: Manifest, sealed: Mapping[str, bytes], key: Key) -> None:
    runs: defaultdict[int, list[tuple[int, Run]]] = defaultdict(list)
    at = 0
    for run in manifest.runs:
        runs[run.chunk].append((at, run))
        at += run.pages
    for index, ref in enumerate(manifest.chunks):
        data = _unsealed(ref, sealed, manifest.account, key)
        for page, run in runs[index]:
            file.seek(page * PAGE_BYTES)
            file.write(data[run.first * PAGE_BYTES : (run.first + run.pages) * PAGE_BYTES])
    file.truncate(manifest.size_bytes)
    file.flush()


def _unsealed(ref: ChunkRef, sealed: Mapping[str, bytes], account: str, key: Key) -> bytes:
    data = sealed.get(ref.id)
    if data is None:
        raise BackupUnreadable(f"chunk {ref.id} is not there")
    if data[:1] != _FORMAT or len(data) < 1 + NONCE_BYTES:
        raise BackupUnreadable(f"chunk {ref.id} is cut short or has a format that this program does not know")
    try:
        packed = key.cipher.decrypt(
            data[1 : 1 + NONCE_BYTES], data[1 + NONCE_BYTES :], _bound_to(ref.id, account)
        )
    except InvalidTag as error:
        raise BackupUnreadable(f"chunk {ref.id} is damaged") from error
    plain = unpack(packed, max_bytes=ref.size_bytes)
    if len(plain) != ref.size_bytes or key.name(plain, account=account).hex() != ref.id:
        raise BackupUnreadable(f"chunk {ref.id} is not what its name says")
    return plain


def _bound_to(chunk: str, account: str) -> bytes:
    return MAGIC + b"chunk" + bytes.fromhex(chunk) + account.encode()


def _named(file: BinaryIO, key: Key, account: str) -> tuple[list[bytes], str]:
    names, sha256 = [], hashlib.sha256()
    while page := file.read(PAGE_BYTES):
        names.append(key.name(_whole(page), account=account))
        sha256.update(page)
    return names, sha256.hexdigest()


def _read(file: BinaryIO, pages: Sequence[int]) -> bytes:
    parts = []
    for page in pages:
        file.seek(page * PAGE_BYTES)
        parts.append(_whole(file.read(PAGE_BYTES)))
    return b"".join(parts)


def _whole(page: bytes) -> bytes:
    return page.ljust(PAGE_BYTES, b"\0")

"""Version 1 of a sealed manifest, byte by byte; docs/backup-format.md is the same in prose.

What is decoded was sealed by one of our keys, or it is refused before anything in it is believed; even so
nothing is allocated because a number in it says so.
"""

import struct
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidTag

from service.backup.chunks import CHUNK_PAGES, PAGE_BYTES, page_count
from service.backup.compression import pack, unpack
from service.backup.keys import CHUNK_ID_BYTES, KEY_ID_BYTES, NONCE_BYTES, Key, Keys
from service.backup.model import ChunkRef, Manifest, Run
from service.errors import BackupError, BackupUnreadable

MAGIC: Final = b"BEACONB\x01"
MAX_BYTES: Final = 64 << 20  # of a manifest as it is; a database of some 8 TiB
_HEAD: Final = len(MAGIC) + KEY_ID_BYTES
_LENGTH: Final = struct.Struct(">I")
_CHUNK: Final = struct.Struct(f">{CHUNK_ID_BYTES}sB")
_RUN: Final = struct.Struct(">IBB")

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Text = Annotated[str, msgspec.Meta(max_length=256)]


class _Scalars(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    account: _Text
    sequence: _Count
    epoch: _Count
    fence: _Count
    taken_at: float
    clean: bool
    identity: _Text
    device_jid: _Text
    schema_version: _Count
    rows: dict[_Text, _Count]
    size_bytes: _Count
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    chunks: _Count
    runs: _Count


def seal_manifest(manifest: Manifest, key: Key) -> bytes:
    """The bytes that a vault keeps."""
    fields = {name: getattr(manifest, name) for name in _Scalars.__struct_fields__}
    fields |= {"chunks": len(manifest.chunks), "runs": len(manifest.runs)}
    scalars = msgspec.json.encode(_Scalars(**fields))
    chunks = (_CHUNK.pack(bytes.fromhex(ref.id), ref.size_bytes // PAGE_BYTES) for ref in manifest.chunks)
    runs = (_RUN.pack(run.chunk, run.first, run.pages) for run in manifest.runs)
    body = b"".join((_LENGTH.pack(len(scalars)), scalars, *chunks, *runs))
    if len(body) > MAX_BYTES:
        raise BackupError(f"the session is too large to be backed up: its manifest has {len(body)} bytes")
    head = MAGIC + bytes.fromhex(key.id)
    bound_to = _bound_to(head, account=manifest.account, sequence=manifest.sequence)
    return head + key.seal(pack(body), bound_to=bound_to)


def unseal_manifest(data: bytes, keys: Keys, *, account: str, sequence: int) -> Manifest:
    """The manifest of this account and sequence, proven to be. Raises BackupUnreadable, BackupKeyMissing."""
    if not data.startswith(MAGIC[:-1]):
        raise BackupUnreadable("this is not the manifest of a backup")
    if data[len(MAGIC) - 1 : len(MAGIC)] != MAGIC[-1:]:
        raise BackupUnreadable("the backup has a format that this program does not know")
    if len(data) < _HEAD + NONCE_BYTES:
        raise BackupUnreadable("the manifest is cut short")
    head, nonce, rest = data[:_HEAD], data[_HEAD : _HEAD + NONCE_BYTES], data[_HEAD + NONCE_BYTES :]
    key = keys.get(head[len(MAGIC) :].hex())
    try:
        body = key.cipher.decrypt(nonce, rest, _bound_to(head, account=account, sequence=sequence))
    except InvalidTag as error:
        raise BackupUnreadable(
            f"the manifest of backup {sequence} is damaged, or not this account's"
        ) from error
    manifest = _decoded(unpack(body, max_bytes=MAX_BYTES), key_id=key.id)
    if (manifest.account, manifest.sequence) != (account, sequence):
        raise BackupUnreadable(f"the manifest of backup {sequence} is another's")
    return manifest


def _bound_to(head: bytes, *, account: str, sequence: int) -> bytes:
    return head + b"manifest" + sequence.to_bytes(8, "big") + account.encode()


def _decoded(body: bytes, *, key_id: str) -> Manifest:
    try:
        (length,) = _LENGTH.unpack_from(body)
        start = _LENGTH.size + length
        scalars = msgspec.json.decode(body[_LENGTH.size : start], type=_Scalars)
        middle = start + scalars.chunks * _CHUNK.size
        if len(body) != middle + scalars.runs * _RUN.size:
            raise BackupUnreadable("the manifest's length is not what it says")
        chunks = tuple(
            ChunkRef(id=name.hex(), size_bytes=pages * PAGE_BYTES)
            for name, pages in _CHUNK.iter_unpack(body[start:middle])
        )
        runs = tuple(
            Run(chunk=chunk, first=first, pages=pages)
            for chunk, first, pages in _RUN.iter_unpack(body[middle:])
        )
    except (struct.error, msgspec.MsgspecError) as error:
        raise BackupUnreadable(f"the manifest is malformed: {error}") from error
    _proven(scalars.size_bytes, chunks, runs)
    fields = msgspec.structs.asdict(scalars)
    return Manifest(**fields | {"chunks": chunks, "runs": runs, "key_id": key_id})


def _proven(size_bytes: int, chunks: Sequence[ChunkRef], runs: Sequence[Run]) -> None:
    whole = all(0 < ref.size_bytes <= CHUNK_PAGES * PAGE_BYTES for ref in chunks)
    inside = all(
        run.chunk < len(chunks)
        and run.pages > 0
        and (run.first + run.pages) * PAGE_BYTES <= chunks[run.chunk].size_bytes
        for run in runs
    )
    if not (whole and inside and sum(run.pages for run in runs) == page_count(size_bytes)):
        raise BackupUnreadable("the manifest contradicts itself")

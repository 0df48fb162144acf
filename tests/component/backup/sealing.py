"""Backups whose bytes mean nothing: a vault sees sealed bytes only."""

from collections.abc import Mapping
from hashlib import sha256

from service.backup.model import Kept, Sealed


def chunk_id(data: bytes) -> str:
    return sha256(data).hexdigest()


def chunks(*parts: str, size_bytes: int = 1000) -> dict[str, bytes]:
    """One chunk for each word."""
    made = {}
    for part in parts:
        data = (part.encode() * size_bytes)[:size_bytes]
        made[chunk_id(data)] = data
    return made


def backup(
    sequence: int, named: Mapping[str, bytes], *, epoch: int = 1, manifest: bytes | None = None
) -> Sealed:
    """A backup that consists of these chunks."""
    return Sealed(
        kept=Kept(
            sequence=sequence,
            epoch=epoch,
            taken_at=1_700_000_000.25 + sequence,
            clean=sequence % 2 == 0,
            key_id="4f0c",
            size_bytes=len(named) * 65_536,
            stored_bytes=sum(map(len, named.values())),
        ),
        manifest=f"manifest {sequence} of epoch {epoch}\n\0\xff".encode() if manifest is None else manifest,
        chunk_ids=tuple(named),
    )

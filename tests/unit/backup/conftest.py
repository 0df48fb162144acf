"""A paired session, a key, and the way from the one to sealed bytes and back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from service.backup.archive import Known, Prepared, prepare, unseal
from service.backup.checks import check
from service.backup.keys import Key, Keys
from service.backup.manifests import unseal_manifest
from service.backup.model import Sealed
from service.backup.snapshot import Facts, take_snapshot
from tests.unit.backup.sessions import DEVICE, Session

ACCOUNT = "shop"


@dataclass
class Shelf:
    """A vault in memory that hides nothing: sealed backups by sequence, chunks by id."""

    folder: Path
    keys: Keys = field(default_factory=lambda: Keys((Key.of(b"\x01" * 32),)))
    backups: dict[int, Sealed] = field(default_factory=dict)
    chunks: dict[str, bytes] = field(default_factory=dict)

    def prepared(self, path: Path, facts: Facts, *, known: Known | None = None, at: float = 1.5) -> Prepared:
        return prepare(
            path,
            facts,
            keys=self.keys,
            account=ACCOUNT,
            sequence=len(self.backups) + 1,
            epoch=4,
            fence=2,
            taken_at=at,
            clean=True,
            identity="0123456789abcdef",
            known=known,
        )

    def put(self, prepared: Prepared) -> Sealed:
        sealed, fresh = prepared.seal(set(prepared.chunk_ids) - self.chunks.keys())
        self.backups[sealed.kept.sequence] = sealed
        self.chunks |= fresh
        return sealed

    def keep(self, session: Path, *, known: Known | None = None) -> Prepared:
        """Snapshot, check, prepare and put; the snapshot stays."""
        copy = self.folder / f"copy-{len(self.backups) + 1}.db"
        take_snapshot(session, copy)
        prepared = self.prepared(copy, check(copy, expected_device=DEVICE, before=None), known=known)
        self.put(prepared)
        return prepared

    def bring_back(self, sequence: int, target: Path, *, keys: Keys | None = None) -> Known:
        keys = keys or self.keys
        sealed = self.backups[sequence]
        manifest = unseal_manifest(sealed.manifest, keys, account=ACCOUNT, sequence=sequence)
        return unseal(manifest, self.chunks, target, keys)


def keys_of(*numbers: int) -> Keys:
    return Keys(tuple(Key.of(bytes([number]) * 32) for number in numbers))


def some(items: Sequence[str]) -> str:
    return items[len(items) // 2]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path / "session.db").make()

"""Five hundred times something is damaged: each time a clear error, or exactly what was backed up."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from service.backup.checks import check
from service.backup.manifests import seal_manifest
from service.backup.snapshot import take_snapshot
from service.errors import BackupUnreadable, SnapshotRefused
from tests.unit.backup.conftest import Shelf
from tests.unit.backup.damaging import damaged
from tests.unit.backup.sessions import DEVICE, Session


@pytest.mark.parametrize("seed", range(4))
def test_damaged_chunks_and_manifests_are_never_taken_for_good(
    shelf: Shelf, session: Session, tmp_path: Path, seed: int
) -> None:
    rng, target = Random(seed), tmp_path / "back.db"
    first = shelf.keep(session.path)
    session.live()
    second = shelf.keep(session.path, known=first.known)
    good, manifests = dict(shelf.chunks), dict(shelf.backups)
    copies = {1: first.path.read_bytes(), 2: second.path.read_bytes()}
    refused = restored = 0
    for _ in range(100):
        sequence = rng.choice((1, 2))
        shelf.chunks, shelf.backups = dict(good), dict(manifests)
        if rng.random() < 0.5:
            chunk = rng.choice(sorted(good))
            shelf.chunks[chunk] = damaged(good[chunk], rng)
        else:
            sealed = manifests[sequence]
            shelf.backups[sequence] = replace(sealed, manifest=damaged(sealed.manifest, rng))
        target.unlink(missing_ok=True)
        try:
            shelf.bring_back(sequence, target)
        except BackupUnreadable:
            refused += 1
            assert not target.exists()
        else:
            restored += 1  # the damaged chunk was of the other backup
            assert target.read_bytes() == copies[sequence]
    assert refused > restored


@pytest.mark.parametrize("seed", range(2))
def test_a_damaged_session_is_refused_or_kept_as_it_is(tmp_path: Path, seed: int) -> None:
    rng = Random(seed)
    good = Session(tmp_path / "good.db").make(peers=4, messages=20)
    take_snapshot(good.path, tmp_path / "whole.db")
    data = (tmp_path / "whole.db").read_bytes()
    rows = check(tmp_path / "whole.db", expected_device=DEVICE, before=None).rows
    refused = 0
    for turn in range(50):
        folder = tmp_path / str(turn)
        folder.mkdir()
        shelf, live, copy = Shelf(folder), folder / "session.db", folder / "copy.db"
        live.write_bytes(damaged(data, rng))
        try:
            take_snapshot(live, copy)
            facts = check(copy, expected_device=DEVICE, before=rows)
        except SnapshotRefused:
            refused += 1
            continue
        shelf.put(shelf.prepared(copy, facts))
        shelf.bring_back(1, folder / "back.db")
        assert (folder / "back.db").read_bytes() == copy.read_bytes()
        assert check(folder / "back.db", expected_device=DEVICE, before=rows) == facts
    assert refused >= 10


def test_even_a_manifest_sealed_with_our_key_is_not_believed_blindly(
    shelf: Shelf, session: Session, tmp_path: Path
) -> None:
    prepared = shelf.keep(session.path)
    runs = prepared.manifest.runs
    forged = (
        replace(prepared.manifest, size_bytes=1 << 60),
        replace(prepared.manifest, runs=runs[:-1]),
        replace(prepared.manifest, runs=(replace(runs[0], chunk=len(prepared.chunk_ids)), *runs[1:])),
        replace(prepared.manifest, runs=(replace(runs[0], first=200), *runs[1:])),
        replace(prepared.manifest, sha256="0" * 64),
        replace(prepared.manifest, account="other"),
    )
    for manifest in forged:
        sealed = seal_manifest(manifest, shelf.keys.sealing)
        shelf.backups[1] = replace(shelf.backups[1], manifest=sealed)
        with pytest.raises(BackupUnreadable):
            shelf.bring_back(1, tmp_path / "back.db")
        assert not (tmp_path / "back.db").exists()

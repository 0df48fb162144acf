"""What goes into a backup comes out of it, or a clear error does."""

import hashlib
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.backup.archive import unseal
from service.backup.chunks import PAGE_BYTES
from service.backup.manifests import unseal_manifest
from service.backup.snapshot import Facts
from service.errors import BackupError, BackupKeyMissing, BackupUnreadable
from tests.people import BEACON
from tests.unit.backup.conftest import ACCOUNT, Shelf, keys_of, some
from tests.unit.backup.sessions import DEVICE, NAME, Session

EDITS = st.lists(
    st.tuples(st.integers(0, 80), st.binary(min_size=1, max_size=40), st.integers(0, 40)), max_size=6
)


def facts_of(path: Path) -> Facts:
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return Facts(device_jid=DEVICE, schema_version=15, size_bytes=len(data), sha256=digest, rows={"a": 1})


@settings(max_examples=60, deadline=None)
@given(size=st.integers(0, 80 * PAGE_BYTES), seed=st.integers(0, 9), steps=st.lists(EDITS, max_size=5))
def test_each_of_many_backups_comes_back_byte_for_byte_whatever_changed_in_between(
    size: int, seed: int, steps: list[list[tuple[int, bytes, int]]]
) -> None:
    with TemporaryDirectory() as folder:
        shelf, data, known = Shelf(Path(folder)), Random(seed).randbytes(size), None
        kept = []
        for edits in [[], *steps]:
            for page, written, more_pages in edits:  # overwrites, moves, grows
                at = page * PAGE_BYTES
                data = data[:at] + written + data[at + len(written) :] + data[: more_pages * PAGE_BYTES]
            path = shelf.folder / "file"
            path.write_bytes(data)
            prepared = shelf.prepared(path, facts_of(path), known=known)
            shelf.put(prepared)
            known = prepared.known
            kept.append(data)

        for sequence, expected in enumerate(kept, start=1):
            shelf.bring_back(sequence, shelf.folder / "back")
            assert (shelf.folder / "back").read_bytes() == expected


def test_what_is_brought_back_is_all_that_the_manifest_says_private_and_alone(
    shelf: Shelf, session: Session, tmp_path: Path
) -> None:
    prepared = shelf.keep(session.path)
    target = tmp_path / "back" / "session.db"
    target.parent.mkdir()
    for suffix in ("-wal", "-shm", "-journal"):
        target.with_name(target.name + suffix).write_bytes(b"of another time")
    known = shelf.bring_back(1, target)

    assert target.read_bytes() == prepared.path.read_bytes()
    assert target.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in target.parent.iterdir()] == ["session.db"]
    assert known == prepared.known
    manifest = unseal_manifest(shelf.backups[1].manifest, shelf.keys, account=ACCOUNT, sequence=1)
    assert manifest == prepared.manifest
    assert (manifest.device_jid, manifest.identity) == (DEVICE, "0123456789abcdef")


def test_a_while_of_traffic_costs_little(shelf: Shelf, tmp_path: Path) -> None:
    session = Session(tmp_path / "larger.db").make(size_bytes=4_000_000)
    first = shelf.keep(session.path)
    full = shelf.backups[1].kept.stored_bytes
    session.live(active=4, messages=60)
    shelf.keep(session.path, known=first.known)

    assert shelf.backups[2].kept.stored_bytes < 0.05 * full
    assert shelf.backups[2].kept.size_bytes == shelf.folder.joinpath("copy-2.db").stat().st_size


def test_nothing_changed_costs_a_manifest(shelf: Shelf, session: Session) -> None:
    first = shelf.keep(session.path)
    shelf.keep(session.path, known=first.known)

    assert shelf.backups[2].kept.stored_bytes == len(shelf.backups[2].manifest)


def test_a_process_that_just_restored_goes_on_with_small_backups(
    shelf: Shelf, session: Session, tmp_path: Path
) -> None:
    shelf.keep(session.path)
    known = shelf.bring_back(1, tmp_path / "back.db")
    shelf.keep(tmp_path / "back.db", known=known)

    kept = shelf.backups[2].kept
    assert kept.stored_bytes - len(shelf.backups[2].manifest) < PAGE_BYTES  # the first page counts commits


def test_chunks_that_serve_little_are_given_up(shelf: Shelf, tmp_path: Path) -> None:
    path, rng = tmp_path / "file", Random(3)
    data, known = bytearray(rng.randbytes(160 * PAGE_BYTES)), None
    for _ in range(40):
        for page in rng.sample(range(160), 8):
            data[page * PAGE_BYTES] ^= rng.randrange(1, 256)
        path.write_bytes(data)
        prepared = shelf.prepared(path, facts_of(path), known=known)
        shelf.put(prepared)
        known = prepared.known

    held = sum(ref.size_bytes for ref in prepared.manifest.chunks)
    assert held <= 2 * len(data)


def test_a_chunk_that_the_vault_lost_is_stored_anew(shelf: Shelf, session: Session, tmp_path: Path) -> None:
    first = shelf.keep(session.path)
    gone = some(first.chunk_ids)
    del shelf.chunks[gone]
    again = shelf.prepared(first.path, facts_of(first.path), known=first.known)
    assert again.lost({gone}) == {gone}
    with pytest.raises(BackupError, match="not where they were kept"):
        again.seal({gone})

    shelf.put(shelf.prepared(first.path, facts_of(first.path), known=first.known.without({gone})))
    shelf.bring_back(2, tmp_path / "back.db")
    assert (tmp_path / "back.db").read_bytes() == first.path.read_bytes()


def test_with_another_first_key_all_is_stored_anew_and_old_backups_need_the_old_key(
    shelf: Shelf, session: Session, tmp_path: Path
) -> None:
    first = shelf.keep(session.path)
    shelf.keys = keys_of(2, 1)
    second = shelf.keep(session.path, known=first.known)

    assert not set(first.chunk_ids) & set(second.chunk_ids)
    for sequence in (1, 2):
        shelf.bring_back(sequence, tmp_path / "back.db")
        assert (tmp_path / "back.db").read_bytes() == first.path.read_bytes()
    shelf.bring_back(2, tmp_path / "back.db", keys=keys_of(2))
    with pytest.raises(BackupKeyMissing) as caught:
        shelf.bring_back(1, tmp_path / "back.db", keys=keys_of(2))
    assert caught.value.key_id == first.manifest.key_id


def test_a_wrong_key_is_told_from_damage(shelf: Shelf, session: Session, tmp_path: Path) -> None:
    shelf.keep(session.path)
    with pytest.raises(BackupKeyMissing, match="BACKUP_KEYS"):
        shelf.bring_back(1, tmp_path / "back.db", keys=keys_of(9))
    assert not (tmp_path / "back.db").exists()


def test_a_manifest_serves_its_own_account_and_sequence_only(shelf: Shelf, session: Session) -> None:
    shelf.keep(session.path)
    data = shelf.backups[1].manifest
    for account, sequence in (("other", 1), (ACCOUNT, 2)):
        with pytest.raises(BackupUnreadable):
            unseal_manifest(data, shelf.keys, account=account, sequence=sequence)


def test_chunks_cannot_take_each_others_place(shelf: Shelf, session: Session, tmp_path: Path) -> None:
    prepared = shelf.keep(session.path)
    one, other = prepared.chunk_ids[:2]
    shelf.chunks[one], shelf.chunks[other] = shelf.chunks[other], shelf.chunks[one]
    with pytest.raises(BackupUnreadable, match="damaged"):
        shelf.bring_back(1, tmp_path / "back.db")


def test_chunks_cannot_be_taken_to_another_account(shelf: Shelf, session: Session, tmp_path: Path) -> None:
    prepared = shelf.keep(session.path)
    with pytest.raises(BackupUnreadable, match="damaged"):
        unseal(replace(prepared.manifest, account="other"), shelf.chunks, tmp_path / "back.db", shelf.keys)


def test_a_failed_restore_leaves_what_was_there(shelf: Shelf, session: Session, tmp_path: Path) -> None:
    prepared = shelf.keep(session.path)
    del shelf.chunks[prepared.chunk_ids[-1]]
    target = tmp_path / "live.db"
    target.write_bytes(b"good")
    with pytest.raises(BackupUnreadable, match="is not there"):
        shelf.bring_back(1, target)

    assert target.read_bytes() == b"good"
    assert not list(tmp_path.glob("*.part"))


def test_a_file_that_changes_while_it_is_sealed_is_not_sealed(shelf: Shelf, session: Session) -> None:
    prepared = shelf.keep(session.path)
    with prepared.path.open("r+b") as file:
        file.seek(-PAGE_BYTES, 2)
        file.write(b"changed")
    with pytest.raises(BackupError, match="changed since"):
        shelf.prepared(prepared.path, facts_of(session.path))
    shelf.chunks.clear()
    with pytest.raises(BackupError, match="changed while"):
        shelf.put(prepared)


def test_nothing_of_the_session_can_be_read_in_what_is_kept(shelf: Shelf, session: Session) -> None:
    prepared = shelf.keep(session.path)
    plain = prepared.path.read_bytes()
    stored = b"".join([shelf.backups[1].manifest, *shelf.chunks.values()])

    for known in (NAME.encode(), DEVICE.encode(), BEACON.encode(), b"SQLite format 3", b"whatsmeow_device"):
        assert known in plain
        assert known not in stored
    told = repr(shelf.backups[1].kept).encode() + repr(shelf.keys).encode()
    assert BEACON.encode() not in told
    assert shelf.keys.sealing.naming.hex().encode() not in told


def test_equal_pages_of_two_accounts_have_names_that_tell_nothing() -> None:
    key = keys_of(1).sealing
    assert key.name(b"page", account="a") != key.name(b"page", account="b")
    assert key.name(b"page", account="a") != keys_of(2).sealing.name(b"page", account="a")

"""DATA_DIR: private, one process at a time, and its keys stay."""

import stat
from pathlib import Path

import pytest

from service.datadir import DataDir
from service.errors import DataDirInUse, DataDirUnusable


def test_it_is_made_for_its_owner_only(tmp_path: Path) -> None:
    with DataDir(tmp_path / "a" / "b") as data:
        data.secret("key")
        assert stat.S_IMODE(data.path.stat().st_mode) == 0o700
        assert [stat.S_IMODE(file.stat().st_mode) for file in data.path.iterdir()] == [0o600, 0o600]


def test_two_cannot_hold_it(tmp_path: Path) -> None:
    with DataDir(tmp_path), pytest.raises(DataDirInUse, match="held by another process"), DataDir(tmp_path):
        pass


def test_it_is_free_again_after_its_holder(tmp_path: Path) -> None:
    with DataDir(tmp_path):
        pass
    with DataDir(tmp_path):
        pass


def test_a_file_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirUnusable, match="must be a folder"), DataDir(tmp_path / "file"):
        pass


def test_a_key_is_random_and_stays(tmp_path: Path) -> None:
    with DataDir(tmp_path) as data:
        first, other = data.secret("one"), data.secret("two")
    with DataDir(tmp_path) as data:
        assert data.secret("one") == first
    assert len(first) == 32
    assert first != other

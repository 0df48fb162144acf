"""Keys from the setting, or one beside the data."""

import base64
from pathlib import Path

import pytest
from pydantic import SecretStr

from service.backup.keys import Key, Keys
from service.errors import BackupKeyMissing, BackupUnreadable, DataDirUnusable, SettingsError

RAW = bytes(range(224, 256))  # its base64 has a plus or a slash


@pytest.mark.parametrize(
    "text",
    [
        RAW.hex(),
        RAW.hex().upper(),
        base64.b64encode(RAW).decode(),
        base64.urlsafe_b64encode(RAW).decode().rstrip("="),
        f" {RAW.hex()}\n",
    ],
    ids=["hex", "HEX", "base64", "base64url", "spaces"],
)
def test_a_key_may_be_written_in_any_usual_way(text: str, tmp_path: Path) -> None:
    keys = Keys.load((SecretStr(text),), key_file=tmp_path / "key")

    assert keys.sealing.id == Key.of(RAW).id
    assert not keys.local
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize("text", ["", "password", "ab" * 31, "zz" * 32, "ä" * 32, "A" * 44], ids=repr)
def test_anything_else_is_refused_without_being_shown(text: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"BACKUP_KEYS=\*\*\*: each must be 32 random bytes") as caught:
        Keys.load((SecretStr(text),), key_file=tmp_path / "key")
    assert not text or text not in str(caught.value)


def test_the_first_key_seals_and_all_are_found(tmp_path: Path) -> None:
    keys = Keys.load((SecretStr("01" * 32), SecretStr("02" * 32)), key_file=tmp_path / "key")

    assert keys.sealing is keys.get(Key.of(b"\x01" * 32).id)
    assert keys.get(Key.of(b"\x02" * 32).id).id != keys.sealing.id
    with pytest.raises(BackupKeyMissing):
        keys.get("0" * 16)


def test_without_a_setting_a_private_key_file_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "backup.key"
    first, second = Keys.load(None, key_file=path), Keys.load((), key_file=path)

    assert first.local
    assert first.sealing.id == second.sealing.id
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["backup.key"]


def test_a_key_file_that_holds_no_key_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "backup.key"
    path.write_text("half a ke")
    with pytest.raises(BackupUnreadable, match=r"backup\.key: is not a key"):
        Keys.load(None, key_file=path)
    assert path.read_text() == "half a ke"


def test_a_key_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataDirUnusable, match="cannot be kept there"):
        Keys.load(None, key_file=tmp_path / "missing" / "backup.key")

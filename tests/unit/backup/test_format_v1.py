"""Backups that version 1 of the format made, long ago, can be read for ever."""

import hashlib
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from service.backup.archive import unseal
from service.backup.checks import check
from service.backup.keys import Keys
from service.backup.manifests import unseal_manifest
from service.errors import BackupUnreadable
from tests.unit.backup.sessions import DEVICE

KEPT = Path(__file__).parents[2] / "data" / "backup-v1.json"


@pytest.fixture
def kept() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(KEPT.read_text())
    return found


@pytest.fixture
def keys(kept: dict[str, Any], tmp_path: Path) -> Keys:
    return Keys.load((SecretStr(kept["key"]),), key_file=tmp_path / "none")


@pytest.mark.parametrize("number", [0, 1])
def test_a_backup_of_version_1_is_restored(
    kept: dict[str, Any], keys: Keys, tmp_path: Path, number: int
) -> None:
    backup = kept["backups"][number]
    chunks = {name: b64decode(data) for name, data in kept["chunks"].items()}
    manifest = unseal_manifest(
        b64decode(backup["manifest"]), keys, account=kept["account"], sequence=backup["sequence"]
    )
    unseal(manifest, chunks, tmp_path / "back.db", keys)

    data = (tmp_path / "back.db").read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (backup["size_bytes"], backup["sha256"])
    facts = check(tmp_path / "back.db", expected_device=DEVICE, before=manifest.rows)
    assert facts.rows == manifest.rows
    assert (manifest.epoch, manifest.fence, manifest.taken_at, manifest.clean) == (4, 2, 1.5, True)


def test_a_later_version_is_told_from_damage(kept: dict[str, Any], keys: Keys) -> None:
    data = bytearray(b64decode(kept["backups"][0]["manifest"]))
    data[7] = 2
    with pytest.raises(BackupUnreadable, match="a format that this program does not know"):
        unseal_manifest(bytes(data), keys, account=kept["account"], sequence=1)

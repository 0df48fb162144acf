"""What a folder adds to the promises: kills, modes, a second process, damage."""

import asyncio
import fcntl
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from service.backup.vault_directory import DirectoryVault
from service.errors import StoreTooNew, VaultUnavailable
from tests.component.backup.sealing import backup, chunks

ROUNDS = 50


@pytest.fixture
async def vault(tmp_path: Path) -> DirectoryVault:
    vault = DirectoryVault(tmp_path / "vault", account="default", lock_wait_s=0.1)
    await vault.open()
    return vault


async def killed(*arguments: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.component.backup.killed",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    answer: dict[str, Any] = json.loads(told)
    return answer


async def test_whenever_the_process_is_killed_every_listed_backup_is_whole(tmp_path: Path) -> None:
    told = await killed("at-random", str(tmp_path / "vault"), str(ROUNDS))
    assert told["rounds"] == ROUNDS
    assert told["whole"] > ROUNDS, "there was something to check"
    assert told["epochs"] >= ROUNDS


async def test_killed_before_any_single_change_of_a_name_every_listed_backup_is_whole(tmp_path: Path) -> None:
    told = await killed("at-each", str(tmp_path))
    assert told["moments"] > 30
    assert told["whole"] > 15


async def test_everything_in_it_is_for_this_user_alone(vault: DirectoryVault, tmp_path: Path) -> None:
    await vault.put(backup(1, chunks("a")), chunks("a"), epoch=await vault.enter())
    await vault.verified(1, at=1.0)
    modes = {
        path.relative_to(tmp_path): stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "vault", *(tmp_path / "vault").rglob("*"))
    }
    assert set(modes.values()) == {0o600, 0o700}
    assert all(mode == (0o700 if (tmp_path / path).is_dir() else 0o600) for path, mode in modes.items())


async def test_while_another_process_writes_nobody_else_does(vault: DirectoryVault, tmp_path: Path) -> None:
    other = os.open(tmp_path / "vault" / "default" / "lock", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    try:
        for call in (
            vault.put(backup(1, chunks("a")), chunks("a"), epoch=1),
            vault.enter(),
            vault.forget([]),
        ):
            with pytest.raises(VaultUnavailable, match="another process"):
                await call
        assert await vault.epoch() == 0, "looking needs no lock"
    finally:
        os.close(other)
    assert await vault.enter() == 1


async def test_where_the_disk_is_not_mounted_nothing_is_begun(tmp_path: Path) -> None:
    vault = DirectoryVault(tmp_path / "mount" / "vault", account="default")
    with pytest.raises(VaultUnavailable):
        await vault.open()
    assert not (tmp_path / "mount").exists()


async def test_a_folder_of_a_newer_program_is_refused_and_left_alone(
    vault: DirectoryVault, tmp_path: Path
) -> None:
    (tmp_path / "vault" / "default" / "format.2").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreTooNew, match="format 2"):
        await DirectoryVault(tmp_path / "vault", account="default").open()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("chunk_id", ["", "../../lock", "ABC", "a/b", "a.new", "a" * 129])
async def test_an_id_that_is_no_hash_is_refused(vault: DirectoryVault, chunk_id: str) -> None:
    with pytest.raises(ValueError, match="hex digits"):
        await vault.put(backup(1, {chunk_id: b""}), {chunk_id: b""}, epoch=1)
    with pytest.raises(ValueError, match="hex digits"):
        await vault.chunks([chunk_id])
    assert list(await vault.listed()) == []


@pytest.mark.parametrize("at", range(0, 600, 7))
async def test_a_damaged_listing_still_says_that_there_is_a_backup_and_costs_no_other_a_chunk(
    vault: DirectoryVault, tmp_path: Path, at: int
) -> None:
    for sequence in (1, 2, 3):
        named = chunks("a", f"{sequence}")
        await vault.put(backup(sequence, named), named, epoch=1)
    path = tmp_path / "vault" / "default" / "backups" / "2"
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 0x10
    path.write_bytes(data)

    assert [kept.sequence for kept in await vault.listed()] == [3, 2, 1]
    await vault.forget([3])
    assert await vault.missing(chunks("a", "1", "2")) == set()
    await vault.forget([2])
    assert await vault.missing(chunks("a", "1", "2")) == set(chunks("2"))
    assert await vault.chunks(list(chunks("a", "1"))) == chunks("a", "1")
    await vault.put(backup(4, chunks("a")), chunks("a"), epoch=1)

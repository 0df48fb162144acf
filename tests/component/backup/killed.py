"""Processes that keep, note and forget backups in a folder until they are killed; what they left is checked.

python -m tests.component.backup.killed at-random PATH ROUNDS; at any moment, in one folder
python -m tests.component.backup.killed at-each PATH; before each change of a name, in a new folder each

Prints one line of JSON. One process that forks, because a new interpreter would cost more than a round.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

from service.backup.vault_directory import DirectoryVault
from service.errors import BackupUnreadable
from tests.component.backup.sealing import backup, chunks

WORDS = "abcdefgh"
SIZE_BYTES = 20_000
CHANGES = {"open", "os.mkdir", "os.rename", "os.remove", "os.truncate"}


async def keep_until_killed(path: Path, seed: int) -> None:
    vault = DirectoryVault(path, account="default")
    await vault.open()
    epoch = await vault.enter()
    rng = Random(seed)
    while True:
        await keep(vault, "".join(rng.sample(WORDS, 4)), epoch=epoch)
        listed = await vault.listed()
        await vault.verified(listed[0].sequence, at=1.0)
        await vault.forget([kept.sequence for kept in listed[3:]])


async def keep_twice(path: Path) -> None:
    vault = DirectoryVault(path, account="default")
    await vault.open()
    epoch = await vault.enter()
    await keep(vault, "ab", epoch=epoch)
    await keep(vault, "bc", epoch=epoch)
    await vault.verified(2, at=1.0)
    await vault.forget([1])
    await vault.close()


async def keep(vault: DirectoryVault, words: str, *, epoch: int) -> None:
    """Its manifest says what it consists of."""
    sequence = max((kept.sequence for kept in await vault.listed()), default=0) + 1
    named = chunks(*words, size_bytes=SIZE_BYTES)
    missing = await vault.missing(named)
    await vault.put(
        backup(sequence, named, epoch=epoch, manifest=words.encode()),
        {each: named[each] for each in missing},
        epoch=epoch,
    )


async def checked(path: Path) -> tuple[int, int]:
    """How many backups are listed, each of them whole; and the epoch that another owner enters."""
    vault = DirectoryVault(path, account="default")
    await vault.open()
    listed = await vault.listed()
    for kept in listed:
        words = (await vault.manifest(kept.sequence)).decode()
        named = chunks(*words, size_bytes=SIZE_BYTES)
        try:
            assert await vault.chunks(list(named)) == named, f"backup {kept.sequence} is not what was put"
        except BackupUnreadable as error:
            raise AssertionError(f"backup {kept.sequence} is not whole") from error
    epoch = await vault.enter()
    await keep(vault, WORDS, epoch=epoch)  # it goes on from whatever was left
    await vault.forget([kept.sequence for kept in listed[2:]])
    await vault.close()
    return len(listed), epoch


def forked(work: Callable[[], Awaitable[None]], *, kill_at: int | None = None) -> int:
    """The id of a process that does it, and may kill itself before its n-th change of a name."""
    process = os.fork()
    if process:
        return process
    if kill_at is not None:
        changes = count(1)

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            writes = event != "open" or (isinstance(arguments[2], int) and arguments[2] & os.O_CREAT)
            if event in CHANGES and writes and next(changes) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
    try:
        asyncio.run(_awaited(work()))
    finally:
        os._exit(0)


async def _awaited(work: Awaitable[None]) -> None:
    await work


def at_random(path: Path, rounds: int) -> dict[str, int]:
    rng = Random(50)
    whole = epochs = unfinished = 0
    for seed in range(rounds):
        process = forked(partial(keep_until_killed, path, seed))
        time.sleep(rng.uniform(0.02, 0.08))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        unfinished += len(list(path.rglob("*.new")))
        found, epoch = asyncio.run(checked(path))
        assert epoch > epochs, "epochs never go back"
        whole, epochs = whole + found, epoch
    return {"rounds": rounds, "whole": whole, "epochs": epochs, "unfinished": unfinished}


def at_each(path: Path) -> dict[str, int]:
    whole = 0
    for moment in count(1):
        folder = path / str(moment)
        process = forked(partial(keep_twice, folder), kill_at=moment)
        _, status = os.waitpid(process, 0)
        found, _ = asyncio.run(checked(folder))
        whole += found
        if not os.WIFSIGNALED(status):
            return {"moments": moment - 1, "whole": whole}
    raise AssertionError


def main() -> None:
    how, path = sys.argv[1], Path(sys.argv[2])
    told = at_random(path, int(sys.argv[3])) if how == "at-random" else at_each(path)
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    main()

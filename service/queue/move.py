"""Carry a SQLite queue into another store, in the order accepted; killed anywhere and run again, it goes on.

Per batch: the files that its messages name, then the messages, each durable in the target, then a mark in
the source. What was carried but not marked is carried again and found there already (`QueueStore.adopt`).
From the first mark on SqliteStore refuses the file, so that no message can be sent from two places; the file
itself is kept, with its messages, under another name.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.clock import Clock
from service.errors import StoreUnavailable
from service.queue.model import Acquaintance
from service.queue.sqlite_source import Source
from service.queue.sqlite_writer import translate
from service.queue.store import QueueStore

BATCH: Final = 500
"""Messages, or chats, carried in one commit."""

Progress = Callable[[int, int], None]
"""Told how many messages are carried, and of how many, after each batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What one run of `move` did. `present` were in the target before: carried by a run that was killed, or
    handed in there under the same idempotency key. `kept_as` is the source's new name, None when there was
    no source, or when it also holds messages of `other_accounts`."""

    messages: int
    present: int
    files: int
    chats: int
    kept_as: str | None
    other_accounts: tuple[str, ...]


async def move(
    path: Path,
    target: QueueStore,
    *,
    account: str,
    clock: Clock,
    progress: Progress = lambda _done, _total: None,
    batch: int = BATCH,
) -> Moved:
    """Carry everything of the account in the file at `path` into the target, which is open; then rename the
    file. No service may use it meanwhile: the caller holds DATA_DIR.

    Raises StoreUnavailable when either store cannot be used, StoreTooNew; then run it again.
    """
    if not await asyncio.to_thread(path.exists):
        return Moved(messages=0, present=0, files=0, chats=0, kept_as=None, other_accounts=())
    with _opened(path, account) as source:
        source.begin()
        total, carried, adopted, files = source.remaining(), 0, 0, 0
        while messages := source.batch(batch):
            files += await _carry_files(source.files_of(messages), source, target, clock)
            adopted += await target.adopt(messages, now=clock.now())
            source.mark(messages[-1].seq)
            carried += len(messages)
            progress(carried, total)
        files += await _carry_files(source.unnamed_files(), source, target, clock)
        chats = await _carry_chats(source, target, batch)
        await _carry_receipts(source, target)
        await _carry_cooldowns(source, target)
        others = source.other_accounts()
        if not others:
            source.seal()
    return Moved(
        messages=adopted,
        present=carried - adopted,
        files=files,
        chats=chats,
        kept_as=None if others else _put_away(path).name,
        other_accounts=others,
    )


def left_behind(path: Path, account: str) -> int:
    """How many messages of the account in the SQLite queue at `path` have still somewhere to go: queued,
    sending, unknown or held, and not carried to another store. 0 when there is no file.

    Raises StoreUnavailable when the file cannot be read.
    """
    if not path.exists():
        return 0
    with _opened(path, account) as source:
        return source.unsettled()


@contextmanager
def _opened(path: Path, account: str) -> Iterator[Source]:
    try:
        with closing(Source(path, account)) as source:
            yield source
    except sqlite3.Error as error:
        raise translate(error) from error


async def _carry_files(names: list[str], source: Source, target: QueueStore, clock: Clock) -> int:
    for name in names:
        await target.keep_file(source.file(name), now=clock.now())
    return len(names)


async def _carry_chats(source: Source, target: QueueStore, batch: int) -> int:
    known: dict[str, Acquaintance] = {}
    chats = 0
    for chat, acquaintance in source.acquaintances():
        known[chat] = acquaintance
        if len(known) == batch:
            await target.acquaint(known)
            chats += len(known)
            known = {}
    if known:
        await target.acquaint(known)
    return chats + len(known)


async def _carry_receipts(source: Source, target: QueueStore) -> None:
    """Those of sends that had not returned: remembered for as long as they would have been."""
    for whatsapp_id, state, at, kept_at in source.early_receipts():
        await target.receive([whatsapp_id], state=state, at=at, now=kept_at)


async def _carry_cooldowns(source: Source, target: QueueStore) -> None:
    there = await target.cooldowns()
    for cooling, cooldown in source.cooldowns().items():
        if cooling not in there or there[cooling].until < cooldown.until:
            await target.cool(cooling, cooldown)


def _put_away(path: Path) -> Path:
    """Rename the file, never over another one, and make the new name durable."""
    kept = path.with_name(f"{path.name}.moved")
    number = 2
    while kept.exists():
        kept = path.with_name(f"{path.name}.moved-{number}")
        number += 1
    try:
        path.rename(kept)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from error
    return kept

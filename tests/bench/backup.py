"""What a backup costs: a session of some size, a little traffic, and the copy after it.

Beside it stand what the old bot did, a whole copy each time (here compressed), and the layouts that were not
chosen: VACUUM INTO instead of a copy whose pages stay where they are, and pieces of a fixed size. Somebody
writes to the session from another process all the while; what the snapshot costs that one is measured, too.
"""

import asyncio
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeVar

from service.backup.archive import Known, Prepared, prepare, unseal
from service.backup.checks import check
from service.backup.chunks import PAGE_BYTES
from service.backup.compression import pack
from service.backup.keys import CHUNK_ID_BYTES, NONCE_BYTES, Key, Keys
from service.backup.manifests import unseal_manifest
from service.backup.snapshot import take_snapshot
from tests.bench import full_copies
from tests.bench.figures import mb
from tests.bench.stores import Places
from tests.unit.backup.sessions import DEVICE, Session

ACTIVE: Final = 50
CHANGED: Final = 0.01
WRITER_ROUNDS: Final = 5
SEALED_BYTES: Final = NONCE_BYTES + 17  # format, nonce and tag around a piece

MEANING: Final = {
    "session_mb": "the session database",
    "full_kb": "stored for the first backup: each later whole copy would cost as much, as the old bot's did",
    "stored_kb": "stored for each backup after 1 % of the rows had changed or come in 50 chats",
    "stored_percent": "median of these, of the first; goal: at most 3",
    "pages_changed_percent": "how much of the file that traffic touched, in pages of 4 KiB",
    "pieces_percent": "the first of them in pieces of a fixed size, by kind of copy and size in KiB",
    "snapshot_ms": "median time to copy",
    "check_ms": "median time to check the copy",
    "seal_ms": "median time to find what changed, compress and encrypt it",
    "first_seal_ms": "the same for a first backup, where all is new",
    "restore_ms": "median time from sealed bytes to a file on the disk, proven; goal: at most 3000",
    "writes": "commits of another process, for equal times alone and beside backups that follow each other: "
    "how many, median and longest in ms; goal: the longest beside no more than 50 above the longest alone",
    "writer_delay_max_ms": "the longest commit while one backup was made (beside), in as long a time without "
    "(alone), and while the session was being copied, when alone it might be locked: median and maximum over "
    "the rounds; goal: at most 50 beside",
    "in_postgres": "the same backups in a database, beside full copies there, in turn",
}

WRITER: Final = """
import os, random, sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)
while True:
    begun, row = time.monotonic(), random.randint(1, 1000)
    database.execute("UPDATE whatsmeow_sessions SET session = ? WHERE rowid = ?", (os.urandom(900), row))
    print(begun, 1000 * (time.monotonic() - begun), flush=True)
    time.sleep(0.002)
"""

T = TypeVar("T")


async def measure(folder: Path, places: Places, *, size_mb: int, rounds: int) -> dict[str, Any]:
    """All figures of this benchmark."""
    path = folder / "session.db"
    session = await asyncio.to_thread(lambda: Session(path).make(size_bytes=size_mb * 1_000_000))
    figures: dict[str, Any] = {"meaning": MEANING, "session_mb": mb(path.stat().st_size)}
    bench = _Bench(folder, session)
    figures |= await asyncio.to_thread(bench.cost, rounds)
    figures |= await asyncio.to_thread(_writes, bench, path, WRITER_ROUNDS * rounds)
    url = (await places.new("postgres")).where
    figures["in_postgres"] = await full_copies.measure(folder, url, session, live=bench.live, rounds=rounds)
    return figures


def _writes(bench: "_Bench", session: Path, backups: int) -> dict[str, Any]:
    """Alone and beside backups, in turn and for equal times."""
    spans: dict[str, list[tuple[float, float]]] = {"alone": [], "beside": []}
    bench.copied.clear()
    with tempfile.TemporaryFile("w+") as output:
        with subprocess.Popen([sys.executable, "-c", WRITER, str(session)], stdout=output) as writer:
            for number in range(backups):
                begun = time.monotonic()
                bench.backup(f"beside-{number % 2}")
                ended = time.monotonic()
                time.sleep(ended - begun)
                spans["beside"].append((begun, ended))
                spans["alone"].append((ended, time.monotonic()))
            writer.kill()
        spans["copied"] = bench.copied
        output.seek(0)
        written = [
            (float(at), float(took)) for at, took in (line.split() for line in output.read().splitlines())
        ]
    figures, longest = {}, {}
    for kind, within in spans.items():
        rounds = [[ms for at, ms in written if begun <= at < ended] for begun, ended in within]
        maxima = [max(each) for each in rounds if each]
        longest[kind] = {"median": round(statistics.median(maxima), 1), "max": round(max(maxima), 1)}
        if kind == "copied":
            continue
        took = [ms for each in rounds for ms in each]
        figures[kind] = {
            "commits": len(took),
            "median": round(statistics.median(took), 2),
            "longest": round(max(took), 1),
        }
    return {"writes": figures, "writer_delay_max_ms": longest | {"rounds": backups}}


def _pieces(kind: str, before: bytes, after: bytes) -> dict[str, float]:
    """What the second file costs after the first, of what it costs whole, in pieces of each size."""
    costs = {}
    for kib in (4, 16, 64):
        size = kib << 10
        old = {before[at : at + size] for at in range(0, len(before), size)}
        pieces = [after[at : at + size] for at in range(0, len(after), size)]
        sizes = {piece: len(pack(piece)) + SEALED_BYTES for piece in set(pieces)}
        names = CHUNK_ID_BYTES * len(pieces)
        new = sum(stored for piece, stored in sizes.items() if piece not in old)
        costs[f"{kind}, {kib}"] = round(100 * (new + names) / (sum(sizes.values()) + names), 1)
    return costs


def _changed_pages(before: bytes, after: bytes) -> float:
    pages = range(0, len(after), PAGE_BYTES)
    changed = sum(before[at : at + PAGE_BYTES] != after[at : at + PAGE_BYTES] for at in pages)
    return round(100 * changed / len(pages), 1)


class _Bench:
    """Backups of one session, kept in memory."""

    def __init__(self, folder: Path, session: Session) -> None:
        self._folder = folder
        self._session = session
        self._keys = Keys((Key.of(random.Random(1).randbytes(32)),))  # nothing here is a secret
        self._chunks: dict[str, bytes] = {}
        self._known: Known | None = None
        self._took_ms: dict[str, list[float]] = {}
        self.copied: list[tuple[float, float]] = []
        """When the session was being copied."""
        self._sequence = 0
        self._manifest = b""

    def cost(self, rounds: int) -> dict[str, Any]:
        """What is stored, and how long each step takes."""
        full, first = self.backup("first")
        first_seal_ms = round(self._took_ms.pop("seal")[0])
        self._took_ms.clear()
        stored: list[int] = []
        pieces, touched = {}, 0.0
        for turn in range(rounds):
            vacuumed = self._vacuumed("before")
            self.live()
            cost, latest = self.backup("second")
            stored.append(cost)
            if turn == 0:
                copies = first.path.read_bytes(), latest.path.read_bytes()
                touched = _changed_pages(*copies)
                pieces = _pieces("pages in place", *copies) | _pieces(
                    "VACUUM INTO", vacuumed, self._vacuumed("after")
                )
            self._restore(latest)
        return {
            "full_kb": round(full / 1000),
            "stored_kb": [round(cost / 1000) for cost in stored],
            "stored_percent": round(100 * statistics.median(stored) / full, 2),
            "pages_changed_percent": touched,
            "pieces_percent": pieces,
            "first_seal_ms": first_seal_ms,
        } | {f"{step}_ms": round(statistics.median(each)) for step, each in self._took_ms.items()}

    def backup(self, name: str) -> tuple[int, Prepared]:
        """One more backup; the bytes stored for it."""
        path = self._folder / f"{name}.db"
        path.unlink(missing_ok=True)
        self._sequence += 1
        begun = time.monotonic()
        self._timed("snapshot", lambda: take_snapshot(self._session.path, path))
        self.copied.append((begun, time.monotonic()))
        facts = self._timed("check", lambda: check(path, expected_device=DEVICE, before=None))

        def seal() -> tuple[int, Prepared]:
            prepared = prepare(
                path,
                facts,
                keys=self._keys,
                account="bench",
                sequence=self._sequence,
                epoch=1,
                fence=1,
                taken_at=time.time(),
                clean=False,
                identity="",
                known=self._known,
            )
            sealed, fresh = prepared.seal(set(prepared.chunk_ids) - self._chunks.keys())
            self._chunks |= fresh
            self._manifest = sealed.manifest
            return sealed.kept.stored_bytes, prepared

        cost, prepared = self._timed("seal", seal)
        self._known = prepared.known
        return cost, prepared

    def live(self) -> None:
        """1 % of the rows change or come."""
        self._session.live(active=ACTIVE, messages=self._messages())

    def _restore(self, prepared: Prepared) -> None:
        target = self._folder / "restored.db"

        def restore() -> None:
            manifest = unseal_manifest(self._manifest, self._keys, account="bench", sequence=self._sequence)
            unseal(manifest, self._chunks, target, self._keys)

        self._timed("restore", restore)
        if target.read_bytes() != prepared.path.read_bytes():
            raise AssertionError("what was restored is not what was backed up")

    def _messages(self) -> int:
        with closing(sqlite3.connect(self._session.path)) as database:
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            rows: int = sum(
                database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for (name,) in tables
            )
        return round(CHANGED * rows) - ACTIVE

    def _vacuumed(self, name: str) -> bytes:
        path = self._folder / f"vacuumed-{name}.db"
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(self._session.path)) as database:
            database.execute("VACUUM INTO ?", (str(path),))
        return path.read_bytes()

    def _timed(self, step: str, work: Callable[[], T]) -> T:
        begun = time.perf_counter()
        result = work()
        self._took_ms.setdefault(step, []).append(1000 * (time.perf_counter() - begun))
        return result

"""The queue in one SQLite file: WAL, synchronous=FULL, one writer thread, one reader beside it.

One connection writes and checkpoints; the other only reads. That keeps clear of the WAL-reset bug of
SQLite 3.7.0 to 3.51.2, which needs two connections that write or checkpoint at the same instant.
"""

import asyncio
import hashlib
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from service.clock import Clock
from service.errors import StoreFull, StoreUnavailable
from service.queue.metrics import QueueMetrics, StoreErrorReason, StoreOperation
from service.queue.migrations import migrate
from service.queue.model import (
    Acquaintance,
    Claim,
    Cooldown,
    Cooling,
    Enqueued,
    Message,
    Moves,
    NewMessage,
    Page,
    Query,
    Receipted,
    SendResult,
    State,
)
from service.queue.sqlite_claim import BATCH
from service.queue.sqlite_connection import connect, connect_reader
from service.queue.sqlite_files import BATCH as FILES
from service.queue.sqlite_source import refuse_carried
from service.queue.sqlite_transaction import Committed, Transaction
from service.queue.sqlite_writer import Writer, translate

T = TypeVar("T")

LINGER_S: Final = 0.02
"""How long the commit of a completion or a receipt waits for others to share it, as PostgreSQL's commit_delay
does. Nobody waits for it, and the engine has noted what it says. While there is more to send to a near
server, the next claims come sooner and take it along: that halved the commits."""

_LINGERS: Final = frozenset({StoreOperation.COMPLETE, StoreOperation.RECEIVE})


class SqliteStore:
    """QueueStore on SQLite. Not reusable after close."""

    def __init__(self, path: Path, *, account: str, metrics: QueueMetrics, clock: Clock) -> None:
        self._path = path
        self._account = account
        self._metrics = metrics
        self._clock = clock
        self._counts: Counter[State] = Counter()
        self._oldest: float | None = None
        self._trouble: str | None = None
        self._listeners: list[Callable[[Moves], None]] = []
        self._writer: Writer | None = None
        self._reader: sqlite3.Connection | None = None
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="queue-reader")

    # --- life -------------------------------------------------------------------------------------

    async def open(self) -> None:
        """See QueueStore.open. The file is made with mode 0600.

        Raises StoreUnavailable, StoreTooNew, StoreMoved.
        """
        try:
            await self._connect()
        except BaseException as error:
            await self.close()
            if isinstance(error, sqlite3.Error):
                raise translate(error) from error
            if isinstance(error, OSError):
                raise StoreUnavailable(f"{self._path}: {error.strerror}") from error
            raise
        self._metrics.depth(self._counts, oldest_queued_at=self._oldest)

    async def close(self) -> None:
        """See QueueStore.close. The WAL is folded into the file. Once closed, nothing happens again."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await asyncio.get_running_loop().run_in_executor(self._reading, reader.close)
        self._reading.shutdown(wait=False)
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.stop()

    async def _connect(self) -> None:
        writer = Writer(connect=self._connect_writer, account=self._account, on_commit=self._committed)
        await writer.start()
        self._writer = writer
        loop = asyncio.get_running_loop()
        self._reader = await loop.run_in_executor(self._reading, connect_reader, self._path)
        self._counts, self._oldest = await writer.submit(lambda t: (t.tallies(), t.oldest_queued_at()))

    def _connect_writer(self) -> sqlite3.Connection:
        connection = connect(self._path)
        try:
            migrate(connection)
            refuse_carried(connection, self._account)
        except BaseException:
            connection.close()
            raise
        return connection

    # --- numbers ----------------------------------------------------------------------------------

    def counts(self) -> Mapping[State, int]:
        """See QueueStore.counts."""
        return {state: self._counts[state] for state in State}

    def oldest_queued_at(self) -> float | None:
        """See QueueStore.oldest_queued_at."""
        return self._oldest

    def trouble(self) -> str | None:
        """See QueueStore.trouble. Judged by the last write."""
        return self._trouble

    def subscribe(self, listener: Callable[[Moves], None]) -> Callable[[], None]:
        """See QueueStore.subscribe."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _committed(self, committed: Committed) -> None:
        self._oldest = committed.oldest_queued_at
        for (before, after), messages in committed.moves.items():
            if before is not None:
                self._counts[before] -= messages
            if after is not None:
                self._counts[after] += messages
        self._metrics.moved(committed.moves)
        self._metrics.depth(self._counts, oldest_queued_at=self._oldest)
        for listener in tuple(self._listeners):
            listener(committed.moves)

    # --- callers ----------------------------------------------------------------------------------

    async def enqueue(self, messages: Sequence[NewMessage], *, now: float) -> list[Enqueued]:
        """See QueueStore.enqueue."""
        return await self._write(StoreOperation.ENQUEUE, lambda t: t.enqueue(messages, now=now))

    async def get(self, message_id: str) -> Message | None:
        """See QueueStore.get."""
        return await self._read(StoreOperation.GET, lambda t: t.get(message_id))

    async def find(self, query: Query) -> Page:
        """See QueueStore.find. A page of one chat and some states may be short and not the last."""
        return await self._read(StoreOperation.FIND, lambda t: t.find(query))

    async def cancel(self, message_id: str, *, now: float) -> Message | None:
        """See QueueStore.cancel."""
        return await self._write(StoreOperation.CANCEL, lambda t: t.cancel(message_id, now=now))

    async def hold(self, message_id: str, *, now: float) -> Message | None:
        """See QueueStore.hold."""
        return await self._write(StoreOperation.HOLD, lambda t: t.hold(message_id, now=now))

    async def requeue(self, message_id: str, *, now: float) -> Message | None:
        """See QueueStore.requeue."""
        return await self._write(StoreOperation.REQUEUE, lambda t: t.requeue(message_id, now=now))

    async def requeue_dead(self, *, now: float) -> int:
        """See QueueStore.requeue_dead."""
        total, moved, last = 0, BATCH, 0
        while moved >= BATCH:
            moved, last = await self._write(
                StoreOperation.REQUEUE_DEAD, partial(Transaction.requeue_dead, after=last, now=now)
            )
            total += moved
        return total

    async def keep_file(self, data: bytes, *, now: float) -> str:
        """See QueueStore.keep_file."""
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        await self._write(StoreOperation.KEEP_FILE, lambda t: t.files.keep(sha256, data, now=now))
        return sha256

    async def file(self, sha256: str) -> bytes | None:
        """See QueueStore.file."""
        return await self._read(StoreOperation.FILE, lambda t: t.files.read(sha256))

    async def adopt(self, messages: Sequence[Message], *, now: float) -> int:
        """See QueueStore.adopt. All of them in one commit."""
        return await self._write(StoreOperation.ADOPT, lambda t: t.adopt(messages, now=now))

    # --- worker -----------------------------------------------------------------------------------

    async def claim(self, *, worker: str, now: float, limit: int = 1, fair: bool = False) -> list[Claim]:
        """See QueueStore.claim."""
        claims: list[Claim] = []
        more = True
        while more and not claims:
            claims, more = await self._write(
                StoreOperation.CLAIM, lambda t: t.claim(worker=worker, now=now, limit=limit, fair=fair)
            )
        return claims

    async def complete(self, claim: Claim, *, whatsapp_id: str, now: float) -> Message:
        """See QueueStore.complete."""
        return await self._write(
            StoreOperation.COMPLETE, lambda t: t.complete(claim, whatsapp_id=whatsapp_id, now=now)
        )

    async def release(self, claim: Claim, *, now: float) -> Message:
        """See QueueStore.release."""
        return await self._write(StoreOperation.RELEASE, lambda t: t.release(claim, now=now))

    async def postpone(self, claim: Claim, *, until: float, now: float) -> Message:
        """See QueueStore.postpone."""
        return await self._write(StoreOperation.POSTPONE, lambda t: t.postpone(claim, until=until, now=now))

    async def fail(
        self, claim: Claim, *, result: SendResult, error: str, retry_at: float | None, now: float
    ) -> Message:
        """See QueueStore.fail."""
        return await self._write(
            StoreOperation.FAIL,
            lambda t: t.fail(claim, result=result, error=error, retry_at=retry_at, now=now),
        )

    async def mark_unknown(self, claim: Claim, *, whatsapp_id: str | None, error: str, now: float) -> Message:
        """See QueueStore.mark_unknown."""
        return await self._write(
            StoreOperation.MARK_UNKNOWN,
            lambda t: t.mark_unknown(claim, whatsapp_id=whatsapp_id, error=error, now=now),
        )

    async def orphans(self, *, worker: str) -> list[Claim]:
        """See QueueStore.orphans."""
        return await self._write(StoreOperation.ORPHANS, lambda t: t.orphans(worker=worker))

    async def unknowns(self) -> list[Message]:
        """See QueueStore.unknowns."""
        return await self._write(StoreOperation.UNKNOWNS, Transaction.unknowns)

    async def resolve_unknown(self, message_id: str, *, now: float) -> Message | None:
        """See QueueStore.resolve_unknown."""
        return await self._write(
            StoreOperation.RESOLVE_UNKNOWN, lambda t: t.resolve_unknown(message_id, now=now)
        )

    async def receive(
        self, whatsapp_ids: Sequence[str], *, state: State, at: float, now: float
    ) -> list[Receipted]:
        """See QueueStore.receive."""
        return await self._write(
            StoreOperation.RECEIVE, lambda t: t.receive(whatsapp_ids, state=state, at=at, now=now)
        )

    async def resend(self, whatsapp_id: str, *, now: float) -> Message | None:
        """See QueueStore.resend."""
        return await self._write(StoreOperation.RESEND, lambda t: t.resend(whatsapp_id, now=now))

    async def expire(self, *, now: float) -> int:
        """See QueueStore.expire. Long work is cut into commits that let others in between."""
        total, moved = 0, BATCH
        while moved >= BATCH:
            moved = await self._write(StoreOperation.EXPIRE, lambda t: t.expire(now=now))
            total += moved
        return total

    async def prune(self, *, now: float) -> int:
        """See QueueStore.prune. Long work is cut into commits that let others in between."""
        total, gone = 0, BATCH
        while gone >= BATCH:
            gone = await self._write(StoreOperation.PRUNE, lambda t: t.prune(now=now))
            total += gone
        looked = FILES
        while looked >= FILES:
            looked = await self._write(StoreOperation.PRUNE, lambda t: t.files.prune(now=now))
        return total

    async def next_due(self) -> float | None:
        """See QueueStore.next_due."""
        return await self._write(StoreOperation.NEXT_DUE, Transaction.next_due)

    # --- pacing -----------------------------------------------------------------------------------

    async def heard(self, chat: str, *, at: float) -> None:
        """See QueueStore.heard."""
        await self._write(StoreOperation.HEARD, lambda t: t.pacing.heard(chat, at=at))

    async def acquaintance(self, chat: str) -> Acquaintance:
        """See QueueStore.acquaintance."""
        return await self._read(StoreOperation.ACQUAINTANCE, lambda t: t.pacing.acquaintance(chat))

    async def acquaint(self, known: Mapping[str, Acquaintance]) -> None:
        """See QueueStore.acquaint."""
        await self._write(StoreOperation.ACQUAINT, lambda t: t.pacing.acquaint(known))

    async def strangers_since(self, at: float) -> int:
        """See QueueStore.strangers_since."""
        return await self._read(StoreOperation.STRANGERS_SINCE, lambda t: t.pacing.strangers_since(at))

    async def cool(self, cooling: Cooling, cooldown: Cooldown) -> None:
        """See QueueStore.cool."""
        await self._write(StoreOperation.COOL, lambda t: t.pacing.cool(cooling, cooldown))

    async def cooldowns(self) -> Mapping[Cooling, Cooldown]:
        """See QueueStore.cooldowns."""
        return await self._read(StoreOperation.COOLDOWNS, lambda t: t.pacing.cooldowns())

    # --- both -------------------------------------------------------------------------------------

    async def _read(self, operation: StoreOperation, look: Callable[[Transaction], T]) -> T:
        """Beside the writer: it waits for no commit."""
        reader = self._reader
        if reader is None:
            raise StoreUnavailable("queue database: not open")
        looking = asyncio.get_running_loop().run_in_executor(
            self._reading, look, Transaction(reader, self._account)
        )
        return await self._measured(operation, looking)

    async def _write(self, operation: StoreOperation, work: Callable[[Transaction], T]) -> T:
        if self._writer is None:
            raise StoreUnavailable("queue database: not open")
        try:
            within_s = LINGER_S if operation in _LINGERS else 0.0
            answer = await self._measured(operation, self._writer.submit(work, within_s=within_s))
        except StoreUnavailable as error:
            self._trouble = str(error)
            raise
        self._trouble = None
        return answer

    async def _measured(self, operation: StoreOperation, answer: Awaitable[T]) -> T:
        started = self._clock.monotonic()
        try:
            return await answer
        except sqlite3.Error as error:
            self._metrics.store_error(StoreErrorReason.UNAVAILABLE)
            raise translate(error) from error
        except StoreFull:
            self._metrics.store_error(StoreErrorReason.FULL)
            raise
        except StoreUnavailable:
            self._metrics.store_error(StoreErrorReason.UNAVAILABLE)
            raise
        finally:
            self._metrics.store_seconds(operation, self._clock.monotonic() - started)

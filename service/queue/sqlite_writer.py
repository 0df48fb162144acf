"""The one thread that writes to the queue's file: what waits together is committed together.

SQLite allows one writer at a time and a durable commit costs an fsync, so operations that are waiting
when a commit ends share the next one. When one of them fails, nothing of that is kept and each runs in a
commit of its own: it harms no other. Nobody is answered before the commit is on disk.

Operations are gathered on the event loop and handed over once in a turn of it: waking the thread for each
costs both of them more than many an operation.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from service.errors import StoreFull, StoreUnavailable
from service.queue.sqlite_transaction import Committed, Transaction

T = TypeVar("T")

GROUP: Final = 256
"""Most operations in one commit."""

_DISK_FULL: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_DIR_FSYNC,
        sqlite3.SQLITE_IOERR_TRUNCATE,
        sqlite3.SQLITE_IOERR_SHMSIZE,
    }
)
"""A quota or file size limit shows as a failed write, not as SQLITE_FULL."""


@dataclass(slots=True)
class _Job:
    operation: Callable[[Transaction], Any]
    answer: asyncio.Future[Any]
    outcome: Any = None
    error: BaseException | None = None


def translate(error: sqlite3.Error) -> StoreUnavailable:
    """The error that callers know. SQLite's words name no value of a row."""
    code = getattr(error, "sqlite_errorcode", None)
    kind = StoreFull if code in _DISK_FULL else StoreUnavailable
    return kind(f"queue database: {error} ({getattr(error, 'sqlite_errorname', 'no code')})")


class Writer:
    """Runs operations on a connection of its own, in the order submitted."""

    def __init__(
        self,
        *,
        connect: Callable[[], sqlite3.Connection],
        account: str,
        on_commit: Callable[[Committed], None],
    ) -> None:
        self._connect = connect
        self._account = account
        self._on_commit = on_commit
        self._loop = asyncio.get_running_loop()
        self._gathered: list[_Job] = []
        self._handing_over: asyncio.Handle | None = None
        self._waits = False
        self._handed: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="queue-writer", daemon=True)
        self._opened: Future[None] = Future()
        self._closed = False

    async def start(self) -> None:
        """Connect in the thread. Raises what connecting raises."""
        self._thread.start()
        await asyncio.wrap_future(self._opened)

    def submit(self, operation: Callable[[Transaction], T], *, within_s: float = 0.0) -> asyncio.Future[T]:
        """Run the operation in some commit and answer its result once that is on disk; it is in line when
        this returns. Raises StoreUnavailable once stopped.

        The commit may wait for `within_s`, or as long as the first that waits, for others to share it; one
        that waits for nobody ends that.
        """
        if self._closed:
            raise StoreUnavailable("queue database: closed")
        answer: asyncio.Future[T] = self._loop.create_future()
        self._gathered.append(_Job(operation, answer))
        if not within_s:
            self._hand_over_soon()
        elif self._handing_over is None:
            self._handing_over, self._waits = self._loop.call_later(within_s, self._hand_over), True
        return answer

    async def stop(self) -> None:
        """Finish what was submitted, close the connection, end the thread."""
        self._closed = True
        self._hand_over()
        self._handed.put(None)
        await asyncio.to_thread(self._thread.join)

    def _hand_over_soon(self) -> None:
        """With everything else that is submitted in this turn of the event loop."""
        if self._handing_over is None or self._waits:
            if self._handing_over is not None:
                self._handing_over.cancel()
            self._handing_over, self._waits = self._loop.call_soon(self._hand_over), False

    def _hand_over(self) -> None:
        if self._handing_over is not None:
            self._handing_over.cancel()
            self._handing_over = None
        if self._gathered:
            self._handed.put(self._gathered)
            self._gathered = []

    # --- in the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            connection = self._connect()
        except BaseException as error:  # noqa: BLE001 -- start() raises it
            self._opened.set_exception(error)
            return
        self._opened.set_result(None)
        try:
            transaction = Transaction(connection, self._account)
            while jobs := self._next_jobs():
                for at in range(0, len(jobs), GROUP):
                    self._commit(connection, transaction, jobs[at : at + GROUP])
        finally:
            connection.close()

    def _next_jobs(self) -> list[_Job]:
        """All that waits, at least one job; none once the end has been asked for."""
        jobs: list[_Job] = []
        handed = self._handed.get()
        with suppress(Empty):
            while handed is not None:
                jobs += handed
                handed = self._handed.get_nowait()
            self._handed.put(None)  # the end: found again when these are done
        return jobs

    def _commit(self, connection: sqlite3.Connection, transaction: Transaction, group: list[_Job]) -> None:
        group = [job for job in group if not job.answer.cancelled()]
        try:
            committed = _together(connection, transaction, group)
        except Exception as error:  # noqa: BLE001 -- its caller gets it, the thread goes on
            if len(group) > 1:
                for job in group:
                    self._commit(connection, transaction, [job])
                return
            committed = None
            for job in group:
                job.error = translate(error) if isinstance(error, sqlite3.Error) else error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._answer, group, committed)

    # --- on the loop ------------------------------------------------------------------------------

    def _answer(self, group: list[_Job], committed: Committed | None) -> None:
        if committed is not None:
            self._on_commit(committed)
        for job in group:
            if job.answer.cancelled():
                continue
            if job.error is not None:
                job.answer.set_exception(job.error)
            else:
                job.answer.set_result(job.outcome)


def _together(
    connection: sqlite3.Connection, transaction: Transaction, group: list[_Job]
) -> Committed | None:
    """Run them in one commit; what it changed, if anything. Raises what the first raises that fails, and
    then nothing was changed."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for job in group:
            job.outcome = job.operation(transaction)
        committed = transaction.finish()
        connection.execute("COMMIT")
    except BaseException:
        transaction.ended(kept=False)
        if connection.in_transaction:  # SQLite has already rolled back on a full disk
            connection.execute("ROLLBACK")
        raise
    transaction.ended(kept=True)
    return committed

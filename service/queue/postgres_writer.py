"""The one connection that writes: what waits together is committed together.

A durable commit costs a round trip and an fsync, so operations that are waiting when a commit ends share the
next one. One that fails leaves nothing behind and harms no other: a group in which a statement fails is done
again one by one. Nobody is answered before the commit is on disk.

A connection that was lost is replaced at once, without anybody noticing, if the database is there; if it is
not, everybody who waits is told within the deadline. A COMMIT without an answer is looked up
(`postgres_doubt`).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from secrets import randbelow
from typing import Any, Final

import asyncpg
import structlog

from service.errors import StoreUnavailable
from service.postgres import TROUBLE
from service.queue.model import Claim, Message
from service.queue.postgres_claim import Take, Taken
from service.queue.postgres_connection import is_lost, translate
from service.queue.postgres_doubt import Doubt, undo
from service.queue.postgres_operations import Operation, Other, perform, weight, whatsapp_ids
from service.queue.postgres_rows import numbers
from service.queue.postgres_settle import Settle
from service.queue.postgres_transaction import Committed, Moved, Transaction, meanwhile, receipt_locks
from service.queue.postgres_turn import Turn, turn_of

log = structlog.get_logger(__name__)

GROUP: Final = 256
"""Most operations in one commit, and about as many messages, unless one call has more."""

ENOUGH: Final = 32
"""With so many claims a commit ends where completions follow: completions and then claims are one call of the
server (`postgres_turn`), and the next can be made ready here while it is at work."""

AT_ONCE: Final = 16
"""How many callers hear of a commit in one turn of the event loop while there is more to commit, so that the
server need not wait until all of them have worked with what they got."""

SHARDS: Final = 16
AGAIN: Final = 5
"""How often a transaction that another one got in the way of is tried."""

ASK_AGAIN_S: Final = 0.05
KNOWN_CHATS: Final = 100_000

PLAN_AGAIN: Final = (256, 4096)
"""After how many messages moved plans are made anew, twice as many each time, and at most: a plan made while
the tables were empty takes any index for as good as another. Planning every statement each time it is used
would cost more than executing it."""

_IN_THE_WAY: Final = (Moved, asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


@dataclass(slots=True)
class _Job:
    operation: Operation
    answer: asyncio.Future[Any]


class _Plans:
    """When the connection's plans are to be made anew."""

    def __init__(self) -> None:
        self._moved = 0
        self._after = PLAN_AGAIN[0]

    def moved(self, messages: int) -> None:
        """So many were moved."""
        self._moved += messages

    def statement(self) -> str:
        """What to execute first."""
        if self._moved < self._after:
            return ""
        self._moved, self._after = 0, min(2 * self._after, PLAN_AGAIN[1])
        return "DISCARD PLANS;"


class _CommitUnanswered(Exception):
    """COMMIT was sent and the connection ended before the answer."""


class Writer:
    """Runs operations on a connection of its own, in the order submitted; completions go before claims that
    are committed with them."""

    def __init__(
        self,
        *,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        account: str,
        on_commit: Callable[[Committed], None],
        deadline_s: float,
    ) -> None:
        self._connect = connect
        self._account = account
        self._on_commit = on_commit
        self._deadline_s = deadline_s
        self._shard = randbelow(SHARDS)
        self._connection: asyncpg.Connection | None = None
        self._jobs: deque[_Job] = deque()
        self._wake = asyncio.Event()
        self._closed = False
        self._running: asyncio.Task[None] | None = None
        self._doubt: Doubt | None = None
        self._settled: dict[int, Message] = {}
        self._acquainted: set[str] = set()
        self._plans = _Plans()
        self._answering: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect. Raises what connecting raises, TimeoutError too."""
        async with asyncio.timeout(self._deadline_s):
            await self._begin()
        self._running = asyncio.create_task(self._run(), name="queue-writer")

    def submit(self, operation: Operation) -> asyncio.Future[Any]:
        """Do it in some commit and answer its result once that is on disk; it is in line when this returns.
        Raises StoreUnavailable, and so does the answer."""
        if self._closed or self._running is None:
            raise StoreUnavailable("queue database: not open")
        job = _Job(operation, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._wake.set()
        return job.answer

    async def stop(self) -> None:
        """Finish what was submitted, end the connection."""
        self._closed = True
        self._wake.set()
        if self._running is not None:
            await self._running
        connection, self._connection = self._connection, None
        if connection is not None:
            await _part(connection, deadline_s=self._deadline_s)

    # --- groups -----------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while group := self._next_group():
                await self._serve(group)
            await self._told()
            if self._closed and not self._jobs:
                return

    def _next_group(self) -> list[_Job]:
        group: list[_Job] = []
        messages = 0
        claims = 0
        while self._jobs and len(group) < GROUP:
            operation = self._jobs[0].operation
            messages += weight(operation)
            if group and (messages > GROUP or claims >= (ENOUGH if isinstance(operation, Settle) else GROUP)):
                break
            job = self._jobs.popleft()
            if not job.answer.cancelled():
                group.append(job)
                claims += operation.limit if isinstance(operation, Take) else 0
        return _completed_first(group)

    async def _serve(self, group: list[_Job]) -> None:
        """Answer all of them, well or not."""
        try:
            async with asyncio.timeout(self._deadline_s):
                answers = await self._kept([job.operation for job in group])
        except (*TROUBLE, StoreUnavailable, TimeoutError, ValueError) as error:
            lost = isinstance(error, TimeoutError) or self._connection is None
            if self._doubt is not None:
                self._doubt.told = True
            if lost:
                self._drop()
                _refuse([*group, *self._jobs], error)
                self._jobs.clear()
            elif len(group) > 1:
                for job in group:
                    await self._serve([job])
            else:
                _refuse(group, error)
        except Exception as error:  # noqa: BLE001 -- its caller gets it, the writer goes on
            if len(group) > 1:
                for job in group:
                    await self._serve([job])
            elif not group[0].answer.done():
                group[0].answer.set_exception(error)
        else:
            await self._tell(group, answers)

    async def _tell(self, group: list[_Job], answers: Sequence[Any]) -> None:
        """Answer all of them, while the next group is served if there is one."""
        await self._told()
        if len(self._jobs) < AT_ONCE:
            await self._answer(group, answers, at_once=len(group))
        else:
            answering = self._answer(group, answers, at_once=AT_ONCE)
            self._answering = asyncio.create_task(answering, name="queue-answers")

    async def _told(self) -> None:
        answering, self._answering = self._answering, None
        if answering is not None:
            await answering

    async def _answer(self, group: list[_Job], answers: Sequence[Any], *, at_once: int) -> None:
        for at, (job, answer) in enumerate(zip(group, answers, strict=True)):
            if at and at % at_once == 0:
                await asyncio.sleep(0)
            if job.answer.cancelled():
                self.forget(answer)
            elif isinstance(answer, Exception):
                job.answer.set_exception(answer)
            else:
                job.answer.set_result(answer)

    def forget(self, answer: Any) -> None:
        """Nobody has heard of this answer, and nobody will."""
        if isinstance(answer, Taken):
            self.take_back(answer.claims())

    def take_back(self, claims: Sequence[Claim]) -> None:
        """Release claims that nobody knows of, before anything that is asked later."""
        if claims:
            now = max(claim.message.claimed_at or 0.0 for claim in claims)
            self._first(Other(lambda t: undo(t, claims=claims), now=now))

    # --- transactions -----------------------------------------------------------------------------

    async def _kept(self, operations: Sequence[Operation]) -> Sequence[Any]:
        """Answers of operations that are on disk. Raises, and nothing was changed; or `_doubt` is left."""
        replaced = False
        tries = 0
        while True:
            try:
                return await self._transaction(operations)
            except _IN_THE_WAY:
                tries += 1
                await self._roll_back()
                if tries == AGAIN:
                    raise StoreUnavailable("queue database: another process is always first") from None
            except _CommitUnanswered:
                self._drop()
                if (answers := await self._looked_up()) is not None:
                    return answers
            except Exception as error:
                if not is_lost(error):
                    await self._roll_back()
                    raise
                self._drop()
                if replaced:
                    raise
                replaced = True

    async def _transaction(self, operations: Sequence[Operation]) -> Sequence[Any]:
        connection = await self._connected()
        turn = await self._begun(connection, operations)
        transaction = Transaction(
            connection,
            account=self._account,
            shard=self._shard,
            now=max(operation.now for operation in operations),
            acquainted=self._acquainted,
        )
        answers = await perform(transaction, operations, turn=turn, settled=self._settled)
        committed = await transaction.finish()
        if committed.txid is not None:
            self._doubt = Doubt(committed.txid, operations, answers, committed)
        try:
            await meanwhile(connection.execute("COMMIT"), lambda: _put_together(answers))
        except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresError) as error:
            if self._doubt is None or not is_lost(error):
                self._doubt = None
                raise
            raise _CommitUnanswered from error
        self._doubt = None
        for operation in operations if self._settled else ():
            if isinstance(operation, Settle):
                self._settled.pop(operation.claim.token, None)
        self._committed(committed, met=transaction.met)
        return answers

    async def _begun(self, connection: asyncpg.Connection, operations: Sequence[Operation]) -> Turn | None:
        """Begin a transaction, with the locks that one needs to look at receipts; or answer the turn that
        these operations are, which takes them itself."""
        begin = f"{self._plans.statement()} BEGIN;"
        turn = turn_of(operations)
        if turn is not None:
            _, turn = await meanwhile(connection.execute(begin), partial(turn.prepared, self._account))
            return turn
        locks = numbers(receipt_locks(self._account, whatsapp_ids(operations)))
        if locks != "{}":
            begin += f"SELECT pg_advisory_xact_lock(key) FROM unnest('{locks}'::bigint[]) AS key"  # noqa: S608
        await connection.execute(begin)
        return None

    def _committed(self, committed: Committed, *, met: dict[str, float]) -> None:
        if len(self._acquainted) > KNOWN_CHATS:
            self._acquainted.clear()
        self._acquainted.update(met)
        self._plans.moved(sum(committed.moves.values()))
        self._on_commit(committed)

    # --- the connection ---------------------------------------------------------------------------

    async def _connected(self) -> asyncpg.Connection:
        """A connection; whatever was in doubt before is resolved."""
        connection = await self._begin()
        if self._doubt is not None and self._doubt.told:
            await self._resolve(self._doubt, connection)
        return connection

    async def _begin(self) -> asyncpg.Connection:
        connection = self._connection
        if connection is None or connection.is_closed():
            connection = self._connection = await self._connect()
            await connection.execute("SET plan_cache_mode = force_generic_plan")
            self._plans = _Plans()
        return connection

    async def _looked_up(self) -> Sequence[Any] | None:
        """The answers of what is in doubt, None when it did not happen. Asks until the deadline."""
        doubt = self._doubt
        assert doubt is not None
        while True:
            with suppress(*TROUBLE):
                took = await doubt.took(await self._begin())
                if took is not None:
                    self._doubt = None
                    log.warning("queue.commit_looked_up", took=took)
                    if took:
                        self._committed(doubt.committed, met={})
                    return doubt.answers if took else None
            await asyncio.sleep(ASK_AGAIN_S)

    async def _resolve(self, doubt: Doubt, connection: asyncpg.Connection) -> None:
        took = await doubt.took(connection)
        while took is None:
            await asyncio.sleep(ASK_AGAIN_S)
            took = await doubt.took(connection)
        self._doubt = None
        log.warning("queue.commit_looked_up", took=took, too_late=True)
        if took:
            self._settled |= doubt.settled()
            self._committed(doubt.committed, met={})
            self._first(Other(doubt.undo, now=max(operation.now for operation in doubt.operations)))

    def _first(self, work: Other) -> None:
        """Do this before anything that is asked later; nobody waits for it."""
        done = asyncio.get_running_loop().create_future()
        done.add_done_callback(_undone)
        self._jobs.appendleft(_Job(work, done))
        self._wake.set()

    async def _roll_back(self) -> None:
        connection = self._connection
        if connection is None or connection.is_closed():
            return
        try:
            await connection.execute("ROLLBACK")
        except TROUBLE:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


def _completed_first(group: list[_Job]) -> list[_Job]:
    """Completions and claims in the order in which one call of the server does both (`postgres_turn`). None
    has been answered yet, so that nobody can tell which was first."""
    if all(_is_completion(job.operation) or isinstance(job.operation, Take) for job in group):
        group.sort(key=lambda job: isinstance(job.operation, Take))
    return group


def _is_completion(operation: Operation) -> bool:
    return isinstance(operation, Settle) and operation.stays_out_of_line


def _put_together(answers: Sequence[Any]) -> None:
    """What callers would wait for once the answers are on disk. What cannot be made of one is told to its
    caller, who asks for it again."""
    for answer in answers:
        if isinstance(answer, Taken):
            with suppress(Exception):
                answer.claims()


def _refuse(jobs: Sequence[_Job], error: Exception) -> None:
    for job in jobs:
        if not job.answer.done():
            job.answer.set_exception(translate(error))


def _undone(done: asyncio.Future[Any]) -> None:
    error = None if done.cancelled() else done.exception()
    if error is not None:
        log.error("queue.undo_failed", error=str(error))


async def _part(connection: asyncpg.Connection, *, deadline_s: float) -> None:
    try:
        await connection.close(timeout=deadline_s)
    except (*TROUBLE, TimeoutError):
        connection.terminate()

"""The queue in PostgreSQL 12 or newer: one connection that writes, one that listens, two that look.

Several processes may use one account at the same time: they never double a claim or wait for each other's
(`FOR UPDATE SKIP LOCKED`), the order within a chat holds across them, and each hears of what the others do
(`postgres_listener`).

While the database is away every call raises StoreUnavailable within `deadline_s`, and nothing was changed.
When the connection ends during a COMMIT the server is asked afterwards whether it happened, and the callers
get the true answer; only if it stays away longer than that they are told that it is unavailable, and what
they so believe is made true when it is back (`postgres_doubt`). A process that is killed in between leaves
what was committed: a message whose acceptance was never answered, or a claim for `orphans`.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from secrets import token_hex
from typing import Any, Final, TypeVar, cast

import asyncpg

from service.clock import Clock
from service.errors import StoreFull, StoreUnavailable
from service.postgres import TROUBLE
from service.queue import postgres_changes as changes
from service.queue import postgres_keeping as keeping
from service.queue import postgres_rows as rows
from service.queue import transitions
from service.queue.making import made, new_secret
from service.queue.metrics import QueueMetrics, StoreErrorReason, StoreOperation
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
from service.queue.postgres_claim import Take, Taken
from service.queue.postgres_connection import DEADLINE_S, Readers, connect, translate
from service.queue.postgres_listener import Listener
from service.queue.postgres_migrations import migrate
from service.queue.postgres_operations import Enqueue, Operation, Other, Receive
from service.queue.postgres_settle import Receipt, Settle
from service.queue.postgres_transaction import Committed, Transaction
from service.queue.postgres_writer import Writer

T = TypeVar("T")

READERS: Final = 2

FILE_DEADLINE_S: Final = 60.0
"""A file of many megabytes takes its time."""


class PostgresStore:
    """QueueStore on PostgreSQL. Not reusable after close. Never names the URL."""

    def __init__(
        self, url: str, *, account: str, metrics: QueueMetrics, clock: Clock, deadline_s: float = DEADLINE_S
    ) -> None:
        self._account = account
        self._metrics = metrics
        self._clock = clock
        self._deadline_s = deadline_s
        self._connect = partial(connect, url)
        self._counts: Counter[State] = Counter()
        self._oldest: float | None = None
        self._trouble: StoreUnavailable | None = None
        self._listeners: list[Callable[[Moves], None]] = []
        self._readers = Readers(self._connect, limit=READERS)
        self._writer = Writer(
            connect=self._connect, account=account, on_commit=self._committed, deadline_s=deadline_s
        )
        self._listener = Listener(
            connect=self._connect,
            account=account,
            origin=token_hex(8),
            look=self._look,
            clock=clock,
            deadline_s=deadline_s,
        )
        self._listening: asyncio.Task[None] | None = None

    # --- life -------------------------------------------------------------------------------------

    async def open(self) -> None:
        """See QueueStore.open. Raises StoreUnavailable, StoreTooNew."""
        try:
            await self._migrate()
            await self._writer.start()
            self._readers.open = True
            await self._look()
        except BaseException as error:
            await self.close()
            if isinstance(error, (*TROUBLE, ValueError)):
                raise translate(error) from None
            raise
        self._metrics.depth(self._counts, oldest_queued_at=self._oldest)
        self._listening = asyncio.create_task(self._listener.run(), name="queue-listener")

    async def _migrate(self) -> None:
        async with asyncio.timeout(self._deadline_s):
            connection = await self._connect()
        try:
            await migrate(connection)
        finally:
            connection.terminate()

    async def close(self) -> None:
        """See QueueStore.close. Once closed, nothing happens again."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening
        await self._writer.stop()
        self._readers.close()

    # --- numbers ----------------------------------------------------------------------------------

    def counts(self) -> Mapping[State, int]:
        """See QueueStore.counts. What other processes moved shows within seconds."""
        return {state: self._counts[state] for state in State}

    def oldest_queued_at(self) -> float | None:
        """See QueueStore.oldest_queued_at."""
        return self._oldest

    def trouble(self) -> str | None:
        """See QueueStore.trouble. Judged by the last write; every few seconds the database is asked, too."""
        return None if self._trouble is None else str(self._trouble)

    def subscribe(self, listener: Callable[[Moves], None]) -> Callable[[], None]:
        """See QueueStore.subscribe. What another process moved is told, too: as many as there are more or
        less in a state, coming from or going to nowhere."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _committed(self, committed: Committed) -> None:
        foreign = _foreign(self._counts, committed)
        moves = {**foreign, **committed.moves}
        for pair in foreign.keys() & committed.moves.keys():
            moves[pair] = foreign[pair] + committed.moves[pair]
        changed = bool(moves) or self._oldest != committed.oldest_queued_at
        self._counts, self._oldest = committed.counts, committed.oldest_queued_at
        self._metrics.moved(committed.moves)
        if changed:
            self._metrics.depth(self._counts, oldest_queued_at=self._oldest)
        if any(after is State.QUEUED for _, after in committed.moves):
            self._listener.announce()
        if moves:
            for listener in tuple(self._listeners):
                listener(moves)

    async def _look(self) -> None:
        """Learn what others have changed. Raises StoreUnavailable."""
        try:
            await self._writer.submit(Other(_nothing, now=self._clock.now()))
        except StoreUnavailable as error:
            self._trouble = error
            raise
        if not isinstance(self._trouble, StoreFull):  # whether there is room again shows when it is needed
            self._trouble = None

    # --- callers ----------------------------------------------------------------------------------

    async def enqueue(self, messages: Sequence[NewMessage], *, now: float) -> list[Enqueued]:
        """See QueueStore.enqueue."""
        new = [made(message, now=now) for message in messages]
        answer = await self._write(StoreOperation.ENQUEUE, Enqueue(new, now))
        return cast("list[Enqueued]", answer)

    async def get(self, message_id: str) -> Message | None:
        """See QueueStore.get."""
        found = await self._messages(StoreOperation.GET, changes.GET, message_id)
        return found[0] if found else None

    async def find(self, query: Query) -> Page:
        """See QueueStore.find. A page of one chat and some states may be short and not the last."""
        return await self._read(StoreOperation.FIND, lambda c: changes.find(c, self._account, query))

    async def cancel(self, message_id: str, *, now: float) -> Message | None:
        """See QueueStore.cancel."""
        cancelled = partial(transitions.cancelled, now=now)
        return await self._do(
            StoreOperation.CANCEL, lambda t: changes.change(t, message_id, cancelled), now=now
        )

    async def hold(self, message_id: str, *, now: float) -> Message | None:
        """See QueueStore.hold."""
        held = partial(transitions.held, now=now)
        return await self._do(StoreOperation.HOLD, lambda t: changes.change(t, message_id, held), now=now)

    async def requeue(self, message_id: str, *, now: float) -> Message | None:
        """See QueueStore.requeue."""
        requeued = partial(transitions.requeued, secret=new_secret(), now=now)
        return await self._do(
            StoreOperation.REQUEUE, lambda t: changes.change(t, message_id, requeued), now=now
        )

    async def requeue_dead(self, *, now: float) -> int:
        """See QueueStore.requeue_dead."""
        total = 0
        last: int | None = 0
        while last is not None:
            moved, last = await self._do(
                StoreOperation.REQUEUE_DEAD, partial(changes.requeue_dead, after=last, now=now), now=now
            )
            total += moved
        return total

    async def keep_file(self, data: bytes, *, now: float) -> str:
        """See QueueStore.keep_file."""
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        await self._read(
            StoreOperation.KEEP_FILE,
            lambda c: keeping.keep_file(c, self._account, sha256, data, now=now),
            deadline_s=FILE_DEADLINE_S,
        )
        return sha256

    async def file(self, sha256: str) -> bytes | None:
        """See QueueStore.file."""
        data = await self._read(
            StoreOperation.FILE,
            lambda c: c.fetchval(keeping.BYTES, self._account, sha256),
            deadline_s=FILE_DEADLINE_S,
        )
        return cast("bytes | None", data)

    async def adopt(self, messages: Sequence[Message], *, now: float) -> int:
        """See QueueStore.adopt. All of them in one commit."""
        return await self._do(StoreOperation.ADOPT, lambda t: changes.adopt(t, messages), now=now)

    # --- worker -----------------------------------------------------------------------------------

    async def claim(self, *, worker: str, now: float, limit: int = 1, fair: bool = False) -> list[Claim]:
        """See QueueStore.claim."""
        claims: list[Claim] = []
        while len(claims) < limit:
            work = Take(worker, fair, now, limit - len(claims))
            try:
                taken = cast("Taken", await self._write(StoreOperation.CLAIM, work))
            except StoreUnavailable:
                if claims:
                    break  # those that were taken before are on disk
                raise
            except BaseException:
                self._writer.take_back(claims)
                raise
            claims += taken.claims()
            if taken.all:
                break
        return claims

    async def complete(self, claim: Claim, *, whatsapp_id: str, now: float) -> Message:
        """See QueueStore.complete."""

        def how(message: Message, receipt: Receipt | None) -> Message:
            return transitions.completed(message, whatsapp_id=whatsapp_id, receipt=receipt, now=now)

        return await self._settle(
            StoreOperation.COMPLETE, Settle(claim, how, now, whatsapp_id, stays_out_of_line=True)
        )

    async def release(self, claim: Claim, *, now: float) -> Message:
        """See QueueStore.release."""
        return await self._settle(
            StoreOperation.RELEASE, Settle(claim, lambda m, _: transitions.released(m, now=now), now)
        )

    async def postpone(self, claim: Claim, *, until: float, now: float) -> Message:
        """See QueueStore.postpone."""
        return await self._settle(
            StoreOperation.POSTPONE,
            Settle(claim, lambda m, _: transitions.postponed(m, until=until, now=now), now),
        )

    async def fail(
        self, claim: Claim, *, result: SendResult, error: str, retry_at: float | None, now: float
    ) -> Message:
        """See QueueStore.fail."""
        how = partial(
            transitions.failed, result=result, error=error, retry_at=retry_at, secret=new_secret(), now=now
        )
        return await self._settle(StoreOperation.FAIL, Settle(claim, lambda m, _: how(m), now))

    async def mark_unknown(self, claim: Claim, *, whatsapp_id: str | None, error: str, now: float) -> Message:
        """See QueueStore.mark_unknown."""

        def how(message: Message, receipt: Receipt | None) -> Message:
            return transitions.unknown(
                message, whatsapp_id=whatsapp_id, error=error, receipt=receipt, now=now
            )

        return await self._settle(StoreOperation.MARK_UNKNOWN, Settle(claim, how, now, whatsapp_id))

    async def orphans(self, *, worker: str) -> list[Claim]:
        """See QueueStore.orphans."""
        return changes.orphans(await self._messages(StoreOperation.ORPHANS, changes.ORPHANS, worker))

    async def unknowns(self) -> list[Message]:
        """See QueueStore.unknowns."""
        return await self._messages(StoreOperation.UNKNOWNS, changes.UNKNOWNS)

    async def resolve_unknown(self, message_id: str, *, now: float) -> Message | None:
        """See QueueStore.resolve_unknown."""
        secret = new_secret()

        def how(message: Message) -> Message | None:
            if message.state is not State.UNKNOWN:
                return None
            return transitions.resolved(message, secret=secret, now=now)

        return await self._do(
            StoreOperation.RESOLVE_UNKNOWN, lambda t: changes.change(t, message_id, how), now=now
        )

    async def receive(
        self, whatsapp_ids: Sequence[str], *, state: State, at: float, now: float
    ) -> list[Receipted]:
        """See QueueStore.receive."""
        answer = await self._write(StoreOperation.RECEIVE, Receive(whatsapp_ids, state, at, now))
        return cast("list[Receipted]", answer)

    async def resend(self, whatsapp_id: str, *, now: float) -> Message | None:
        """See QueueStore.resend."""
        return await self._do(
            StoreOperation.RESEND, lambda t: changes.resend(t, whatsapp_id, now=now), now=now
        )

    async def expire(self, *, now: float) -> int:
        """See QueueStore.expire. Long work is cut into commits that let others in between."""
        total, moved = 0, changes.BATCH
        while moved >= changes.BATCH:
            moved = await self._do(StoreOperation.EXPIRE, partial(changes.expire, now=now), now=now)
            total += moved
        return total

    async def prune(self, *, now: float) -> int:
        """See QueueStore.prune. Long work is cut into commits that let others in between."""
        total, gone = 0, changes.BATCH
        while gone >= changes.BATCH:
            gone = await self._do(StoreOperation.PRUNE, partial(changes.prune, now=now), now=now)
            total += gone
        looked = keeping.FILES
        while looked >= keeping.FILES:
            looked = await self._do(StoreOperation.PRUNE, partial(keeping.prune_files, now=now), now=now)
        return total

    async def next_due(self) -> float | None:
        """See QueueStore.next_due."""
        due = await self._read(StoreOperation.NEXT_DUE, lambda c: c.fetchval(changes.NEXT_DUE, self._account))
        return cast("float | None", due)

    # --- pacing -----------------------------------------------------------------------------------

    async def heard(self, chat: str, *, at: float) -> None:
        """See QueueStore.heard."""
        known = {chat: Acquaintance(None, at)}
        await self._do(StoreOperation.HEARD, lambda t: keeping.acquaint(t, known), now=at)

    async def acquaintance(self, chat: str) -> Acquaintance:
        """See QueueStore.acquaintance."""
        return await self._read(
            StoreOperation.ACQUAINTANCE, lambda c: keeping.acquaintance(c, self._account, chat)
        )

    async def acquaint(self, known: Mapping[str, Acquaintance]) -> None:
        """See QueueStore.acquaint."""
        await self._do(StoreOperation.ACQUAINT, lambda t: keeping.acquaint(t, known), now=self._clock.now())

    async def strangers_since(self, at: float) -> int:
        """See QueueStore.strangers_since."""
        return await self._read(
            StoreOperation.STRANGERS_SINCE, lambda c: keeping.strangers_since(c, self._account, at)
        )

    async def cool(self, cooling: Cooling, cooldown: Cooldown) -> None:
        """See QueueStore.cool."""
        await self._do(
            StoreOperation.COOL, lambda t: keeping.cool(t, cooling, cooldown), now=self._clock.now()
        )

    async def cooldowns(self) -> Mapping[Cooling, Cooldown]:
        """See QueueStore.cooldowns."""
        return await self._read(StoreOperation.COOLDOWNS, lambda c: keeping.cooldowns(c, self._account))

    # --- all --------------------------------------------------------------------------------------

    async def _settle(self, operation: StoreOperation, settle: Settle) -> Message:
        return cast("Message", await self._write(operation, settle))

    async def _do(
        self, operation: StoreOperation, work: Callable[[Transaction], Awaitable[T]], *, now: float
    ) -> T:
        return cast("T", await self._write(operation, Other(work, now)))

    async def _write(self, operation: StoreOperation, work: Operation) -> Any:
        started = self._clock.monotonic()
        try:
            answer = await self._heard(self._writer.submit(work))
        except StoreUnavailable as error:
            self._trouble = error
            self._failed(error)
            raise
        finally:
            self._metrics.store_seconds(operation, self._clock.monotonic() - started)
        self._trouble = None
        return answer

    async def _heard(self, asked: asyncio.Future[Any]) -> Any:
        """The answer; who is cancelled when it is there already does not hear it."""
        try:
            return await asked
        except asyncio.CancelledError:
            if asked.done() and not asked.cancelled() and asked.exception() is None:
                self._writer.forget(asked.result())
            raise

    async def _messages(self, operation: StoreOperation, query: str, *values: Any) -> list[Message]:
        found = await self._read(operation, lambda c: c.fetch(query, self._account, *values))
        return [rows.message(row) for row in found]

    async def _read(
        self,
        operation: StoreOperation,
        look: Callable[[asyncpg.Connection], Awaitable[T]],
        *,
        deadline_s: float | None = None,
    ) -> T:
        """Beside the writer: it waits for no commit."""
        started = self._clock.monotonic()
        try:
            return await self._readers.do(look, deadline_s=deadline_s or self._deadline_s)
        except StoreUnavailable as error:
            self._failed(error)
            raise
        finally:
            self._metrics.store_seconds(operation, self._clock.monotonic() - started)

    def _failed(self, error: StoreUnavailable) -> None:
        full = isinstance(error, StoreFull)
        self._metrics.store_error(StoreErrorReason.FULL if full else StoreErrorReason.UNAVAILABLE)


async def _nothing(_: Transaction) -> None:
    """Every transaction ends with a look at the counts."""


def _foreign(counts: Counter[State], committed: Committed) -> dict[tuple[State | None, State | None], int]:
    """How the counts differ from what this process knew and did itself."""
    expected = Counter(counts)
    for (before, after), messages in committed.moves.items():
        if before is not None:
            expected[before] -= messages
        if after is not None:
            expected[after] += messages
    foreign: dict[tuple[State | None, State | None], int] = {}
    for state in State:
        more = committed.counts[state] - expected[state]
        if more:
            foreign[(None, state) if more > 0 else (state, None)] = abs(more)
    return foreign

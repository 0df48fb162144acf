"""Sends that never answered: did they leave, and what becomes of them.

whatsmeow writes a message's secret and id to its own store before anything leaves. So after an engine
is gone, no row for the secret proves that the message never left; a row gives the id under which
receipts will tell. When none comes for a while, connected, the message's `on_unknown` decides.

A session that was restored from a backup, or begun anew, has no rows of what was sent with the former
one; there no row proves nothing. So a claim's worker carries the identity of the session it sends with.
"""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

import structlog

from service.clock import Clock
from service.errors import DataDirUnusable, StoreError
from service.queue.metrics import QueueMetrics, RescueOutcome, Resolution
from service.queue.model import Claim, Message, Receipted, State
from service.queue.persistence import Persistence, backoff_s
from service.queue.store import QueueStore

log = structlog.get_logger(__name__)

LOOKUPS: Final = 5
"""How often the session's store is asked before the outcome counts as unknown without an id."""


def worker_name(session: str, process: str) -> str:
    """The name under which a process claims what it sends with that session."""
    return f"{session}/{process}"


def session_of(worker: str | None) -> str | None:
    """The identity of the session that a worker of this name sends with, None when it has none."""
    session, found, _ = (worker or "").partition("/")
    return session if found else None


_RESOLUTIONS: Final = {
    State.QUEUED: Resolution.RESENT,
    State.HELD: Resolution.HELD,
    State.DEAD: Resolution.DEAD,
}


class Unknowns:
    """Looks up what never answered, and waits for the receipts of what may have left."""

    def __init__(
        self,
        *,
        store: QueueStore,
        persistence: Persistence,
        find_message_id: Callable[[bytes], Awaitable[str | None]],
        session_identity: Callable[[], str],
        wait_s: float,
        clock: Clock,
        rng: Random,
        metrics: QueueMetrics,
    ) -> None:
        self._store = store
        self._persistence = persistence
        self._find_message_id = find_message_id
        self._session_identity = session_identity
        self._wait_s = wait_s
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._since: dict[str, float] = {}

    async def load(self) -> None:
        """Take up the messages that another process left in `unknown`, and forget those that it resolved."""
        known_before = set(self._since)
        unknown = await self._persistence.done("unknowns", self._store.unknowns)
        if unknown is None:
            return
        ids = {message.id for message in unknown}
        for message_id in known_before - ids:
            self._since.pop(message_id, None)
        for message_id in ids - known_before:
            self._since.setdefault(message_id, self._clock.monotonic())

    async def look_up(self, claim: Claim, *, error: str) -> Message | None:
        """Settle a claim whose send never answered: released, or unknown; the message as it is then.

        Call it only when the engine that had it is gone, or has answered.
        """
        try:
            whatsapp_id = await self._look_up(claim)
            another_session = session_of(claim.message.worker) != self._session_identity()
        except (StoreError, DataDirUnusable) as failure:
            log.error("queue.lookup_failed", message=claim.message.id, error=str(failure))  # noqa: TRY400
            self._metrics.rescued(RescueOutcome.UNREADABLE)
            return await self._mark(claim, whatsapp_id=None, error=error)
        if whatsapp_id is not None:
            self._metrics.rescued(RescueOutcome.UNKNOWN)
            return await self._mark(claim, whatsapp_id=whatsapp_id, error=error)
        if another_session:
            self._metrics.rescued(RescueOutcome.ANOTHER_SESSION)
            return await self._mark(claim, whatsapp_id=None, error=error)
        self._metrics.rescued(RescueOutcome.RELEASED)
        log.info("message.released", message=claim.message.id, reason="never left")
        return await self._persistence.done(
            "release", lambda: self._store.release(claim, now=self._clock.now())
        )

    async def _look_up(self, claim: Claim) -> str | None:
        for attempt in range(1, LOOKUPS):
            try:
                return await self._find_message_id(claim.message.secret)
            except StoreError as failure:
                log.warning("queue.lookup_repeated", message=claim.message.id, error=str(failure))
                await self._clock.sleep(backoff_s(attempt, self._rng))
        return await self._find_message_id(claim.message.secret)

    async def _mark(self, claim: Claim, *, whatsapp_id: str | None, error: str) -> Message | None:
        marked = await self._persistence.done(
            "mark_unknown",
            lambda: self._store.mark_unknown(
                claim, whatsapp_id=whatsapp_id, error=error, now=self._clock.now()
            ),
        )
        if marked is not None and marked.state is State.UNKNOWN:
            self._since[marked.id] = self._clock.monotonic()
            log.warning("message.unknown", message=marked.id, wait_s=self._wait_s)
        elif marked is not None:
            self._metrics.sent(marked, now=self._clock.now())
            self._metrics.unknown_resolved(Resolution.RECEIPT)
        return marked

    def receipted(self, receipted: Receipted) -> None:
        """A receipt moved a message."""
        if receipted.before is State.UNKNOWN:
            self._since.pop(receipted.message.id, None)
            self._metrics.unknown_resolved(Resolution.RECEIPT)

    async def resolve(self, *, connected_since: float) -> bool:
        """Resolve those whose time is over, counted while connected; whether there were any.

        `connected_since` is by the monotonic clock.
        """
        now = self._clock.monotonic()
        late = [
            message_id
            for message_id, since in self._since.items()
            if now - max(since, connected_since) >= self._wait_s
        ]
        for message_id in late:
            await self._resolve(message_id)
        return bool(late)

    async def _resolve(self, message_id: str) -> None:
        now = self._clock.now()
        message = await self._store.resolve_unknown(message_id, now=now)
        if self._since.pop(message_id, None) is None or message is None:
            return  # a receipt came while the store was asked
        resolution = _RESOLUTIONS.get(message.state, Resolution.RECEIPT)
        self._metrics.unknown_resolved(resolution)
        log.warning("message.unknown_resolved", message=message_id, resolution=resolution.value)

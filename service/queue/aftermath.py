"""What an earlier life of the service learned and could not write down before it was killed.

Its engine noted it (engine/notebook.py). Facts stay facts: this may be done before anything is known of other
processes, because a secret, or an id, of ours in our notes can only be that of our own message.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

import structlog

from service.clock import Clock
from service.engine.notebook import Acknowledged, Note, Notebook
from service.engine.protocol import Receipt
from service.errors import ClaimLost, StoreUnavailable
from service.queue.metrics import QueueMetrics, RescueOutcome
from service.queue.model import Claim, State
from service.queue.receipts import UNACKNOWLEDGED, asks_again, proves
from service.queue.store import QueueStore

log = structlog.get_logger(__name__)

TOGETHER: Final = 64
"""Most notes handed to the store at a time, to share its commits."""

NOBODY: Final = ""
"""A worker that never was: every claim is somebody else's."""


class Aftermath:
    """Hands the notes to the store, once, before anything is sent."""

    def __init__(self, *, store: QueueStore, notebook: Notebook, clock: Clock, metrics: QueueMetrics) -> None:
        self._store = store
        self._notebook = notebook
        self._clock = clock
        self._metrics = metrics

    async def settle(self) -> None:
        """Complete what WhatsApp had acknowledged, write receipts down, have sent again what was asked for
        and not received since, and forget the notes.

        When store or notes cannot be used, that is logged and the notes are kept; what they would have told
        is then found out as if there were none.
        """
        try:
            notes = await asyncio.to_thread(self._notebook.read)
            if not notes:
                return
            sent = await self._acknowledgements(notes)
            moved = await self._receipts(notes)
            again = await self._send_again(notes)
            await asyncio.to_thread(self._notebook.clear)
        except (StoreUnavailable, OSError) as error:
            log.error("queue.notes_failed", error=str(error))  # noqa: TRY400
        else:
            log.info("queue.notes_read", notes=len(notes), sent=sent, moved=moved, again=again)

    async def _acknowledgements(self, notes: list[Note]) -> int:
        known = {note.secret: note for note in notes if isinstance(note, Acknowledged)}
        sent = 0
        for claim in await self._store.orphans(worker=NOBODY):
            if (note := known.get(claim.message.secret)) is not None:
                sent += await self._complete(claim, note)
        return sent

    async def _complete(self, claim: Claim, note: Acknowledged) -> bool:
        try:
            now = self._clock.now()
            message = await self._store.complete(claim, whatsapp_id=note.message_id, now=now)
        except ClaimLost:
            self._metrics.claim_lost()
            return False
        self._metrics.rescued(RescueOutcome.SENT)
        self._metrics.sent(message, now=now)
        return True

    async def _receipts(self, notes: list[Note]) -> int:
        proofs = list(_proofs(notes))
        moved = 0
        for start in range(0, len(proofs), TOGETHER):
            answers = await asyncio.gather(
                *(self._receive(*proof) for proof in proofs[start : start + TOGETHER])
            )
            moved += sum(answers)
        return moved

    async def _receive(self, receipt: Receipt, state: State) -> int:
        now = self._clock.now()
        moved = await self._store.receive(receipt.message_ids, state=state, at=receipt.timestamp, now=now)
        for receipted in moved:
            if receipted.before in UNACKNOWLEDGED:
                self._metrics.sent(receipted.message, now=now)
        return len(moved)

    async def _send_again(self, notes: list[Note]) -> int:
        asked = (note for note in notes if isinstance(note, Receipt) and asks_again(note))
        ids = dict.fromkeys(whatsapp_id for note in asked for whatsapp_id in note.message_ids)
        answers = [await self._store.resend(whatsapp_id, now=self._clock.now()) for whatsapp_id in ids]
        return sum(message is not None and message.state is State.QUEUED for message in answers)


def _proofs(notes: list[Note]) -> Iterator[tuple[Receipt, State]]:
    for note in notes:
        if isinstance(note, Receipt) and (state := proves(note)) is not None:
            yield note, state

"""The queue as one would write it with a list: slow, and plainly right."""

from dataclasses import dataclass

from service.queue.model import LIVE, SETTLED, OnUnknown, State

RANK = {State.DELIVERED: 1, State.READ: 2}
EARLY_S = 3600.0


@dataclass
class Entry:
    """A message, as far as the promises speak of it."""

    id: str
    chat: str
    priority: int
    max_attempts: int
    on_unknown: OnUnknown
    due_at: float
    expires_at: float
    accepted_at: float
    state: State = State.QUEUED
    attempts: int = 0
    whatsapp_id: str | None = None
    token: int | None = None
    worker: str | None = None

    def move(self, state: State) -> None:
        self.state = state
        if state is not State.SENDING:
            self.worker = None


class NaiveQueue:
    """Entries in the order accepted."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.early: dict[str, State] = {}

    def candidates(self, worker: str, now: float) -> list[Entry]:
        heads = []
        for chat in {entry.chat for entry in self.entries}:
            live = [entry for entry in self.entries if entry.chat == chat and entry.state in LIVE]
            if any(entry.state is State.SENDING and entry.worker != worker for entry in live):
                continue
            waiting = [entry for entry in live if entry.state is not State.SENDING]
            if waiting and waiting[0].state is State.QUEUED:
                heads.append(waiting[0])
        due = [entry for entry in heads if min(entry.due_at, entry.expires_at) <= now]
        return sorted(due, key=lambda entry: (-entry.priority, self.entries.index(entry)))

    def claim(self, worker: str, now: float) -> tuple[Entry, int | None] | None:
        """The entry to be claimed, and the token that it is behind; expired ones are moved aside."""
        while due := self.candidates(worker, now):
            entry = due[0]
            if entry.expires_at > now:
                before = [
                    other
                    for other in self.entries[: self.entries.index(entry)]
                    if other.chat == entry.chat and other.state is State.SENDING
                ]
                return entry, before[-1].token if before else None
            entry.move(State.EXPIRED)
        return None

    def receive(self, whatsapp_id: str, state: State) -> list[str]:
        """The ids of the messages that it moves."""
        found = [entry for entry in self.entries if entry.whatsapp_id == whatsapp_id]
        if not found:
            if RANK[state] > RANK.get(self.early.get(whatsapp_id, State.SENT), 0):
                self.early[whatsapp_id] = state
            return []
        (entry,) = found
        if RANK[state] <= RANK.get(entry.state, 0):
            return []
        entry.move(state)
        return [entry.id]

    def settle(self, entry: Entry, how: str, *, whatsapp_id: str, retry_at: float) -> None:
        """The claim on the entry ends."""
        entry.token = None
        if how != "release":
            entry.attempts += 1
        if how in {"complete", "mark_unknown"}:
            entry.whatsapp_id = whatsapp_id
        if entry.state is State.SENDING:
            match how:
                case "complete":
                    entry.move(State.SENT)
                case "mark_unknown":
                    entry.move(State.UNKNOWN)
                case "release":
                    entry.move(State.QUEUED)
                case "fail":
                    self._retry(entry, retry_at)
        if how in {"complete", "mark_unknown"} and (early := self.early.pop(whatsapp_id, None)):
            self.receive(whatsapp_id, early)

    def _retry(self, entry: Entry, retry_at: float) -> None:
        if entry.attempts >= entry.max_attempts:
            entry.move(State.DEAD)
        else:
            entry.due_at = retry_at
            entry.move(State.QUEUED)

    def resolve(self, entry: Entry) -> None:
        """No receipt came in time."""
        if entry.on_unknown is OnUnknown.HOLD:
            entry.move(State.HELD)
        else:
            entry.move(State.DEAD if entry.attempts >= entry.max_attempts else State.QUEUED)

    def expire(self, now: float) -> int:
        """How many become expired."""
        late = [entry for entry in self.entries if entry.state is State.QUEUED and entry.expires_at <= now]
        for entry in late:
            entry.move(State.EXPIRED)
        return len(late)

    def oldest(self) -> float | None:
        """When the first queued one was accepted."""
        return next((entry.accepted_at for entry in self.entries if entry.state is State.QUEUED), None)

    def settled(self) -> int:
        """How many need nothing more."""
        return sum(entry.state in SETTLED for entry in self.entries)

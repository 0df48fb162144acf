"""The queue as one would write it with a list: slow, and plainly right."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from service.queue.model import DEFAULT_TTL_S, LIVE, RETENTION_S, SETTLED, OnUnknown, State

RANK = {State.DELIVERED: 1, State.READ: 2}
HOUR = 3600.0


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
    file: str | None = None
    state: State = State.QUEUED
    attempts: int = 0
    resends: int = 0
    whatsapp_id: str | None = None
    token: int | None = None
    worker: str | None = None
    finished_at: float | None = None
    secrets: set[bytes] = field(default_factory=set)


class NaiveQueue:
    """Entries in the order accepted."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.entries: list[Entry] = []
        self.early: dict[str, tuple[State, float]] = {}
        self.files: dict[str, float] = {}
        self.first_sent: dict[str, float] = {}
        self.heard: dict[str, float] = {}

    def move(self, entry: Entry, state: State) -> None:
        """The entry is in that state from now on."""
        entry.state = state
        entry.finished_at = self.now() if state in SETTLED else None
        if state is not State.SENDING:
            entry.worker = None

    # --- worker -----------------------------------------------------------------------------------

    def heads(self, worker: str) -> list[Entry]:
        """The first live message of each chat that this worker may look at, the earliest accepted first."""
        heads = []
        for chat in {entry.chat for entry in self.entries}:
            live = [entry for entry in self.entries if entry.chat == chat and entry.state in LIVE]
            if any(entry.state is State.SENDING and entry.worker != worker for entry in live):
                continue
            waiting = [entry for entry in live if entry.state is not State.SENDING]
            if waiting and waiting[0].state is State.QUEUED:
                heads.append(waiting[0])
        return sorted(heads, key=self.entries.index)

    def claim(self, worker: str, *, fair: bool) -> tuple[Entry, int | None] | None:
        """The entry to be claimed, and the token that it is behind; expired ones are moved aside."""
        while True:
            due = [entry for entry in self.heads(worker) if min(entry.due_at, entry.expires_at) <= self.now()]
            if not due:
                return None
            entry = due[0] if fair else max(due, key=lambda entry: entry.priority)
            if entry.expires_at > self.now():
                return entry, self._behind(entry)
            self.move(entry, State.EXPIRED)

    def _behind(self, entry: Entry) -> int | None:
        before = [
            other.token
            for other in self.entries[: self.entries.index(entry)]
            if other.chat == entry.chat and other.state is State.SENDING
        ]
        return before[-1] if before else None

    def settle(self, entry: Entry, how: str, *, whatsapp_id: str, until: float) -> None:
        """The claim on the entry ends."""
        entry.token = None
        if how not in {"release", "postpone"}:
            entry.attempts += 1
        if how in {"complete", "mark_unknown"}:
            entry.whatsapp_id = whatsapp_id
        if how == "complete":
            self.first_sent.setdefault(entry.chat, self.now())
        if entry.state is State.SENDING:
            match how:
                case "complete":
                    self.move(entry, State.SENT)
                case "mark_unknown":
                    self.move(entry, State.UNKNOWN)
                case "release":
                    self.move(entry, State.QUEUED)
                case "postpone":
                    self._queue(entry, until)
                case "fail" if entry.attempts >= entry.max_attempts:
                    self.move(entry, State.DEAD)
                case "fail":
                    self._queue(entry, until)
        if how in {"complete", "mark_unknown"} and (early := self.early.pop(whatsapp_id, None)):
            self.receive(whatsapp_id, early[0])

    def _queue(self, entry: Entry, due_at: float) -> None:
        entry.due_at = due_at
        self.move(entry, State.QUEUED)

    # --- receipts ---------------------------------------------------------------------------------

    def receive(self, whatsapp_id: str, state: State) -> list[str]:
        """The ids of the messages that it moves."""
        entry = self.of(whatsapp_id)
        if entry is None:
            remembered = self.early.get(whatsapp_id, (State.SENT, 0.0))[0]
            if RANK[state] > RANK.get(remembered, 0):
                self.early[whatsapp_id] = (state, self.now())
            return []
        if RANK[state] <= RANK.get(entry.state, 0):
            return []
        self.move(entry, state)
        return [entry.id]

    def of(self, whatsapp_id: str) -> Entry | None:
        """Whose WhatsApp id that is now."""
        return next((entry for entry in self.entries if entry.whatsapp_id == whatsapp_id), None)

    def resend(self, entry: Entry) -> None:
        """The recipient asks for it again."""
        if entry.state is State.SENT and not entry.resends:
            entry.resends = 1
            self._again(entry)

    def resolve(self, entry: Entry) -> None:
        """No receipt came in time."""
        if entry.on_unknown is OnUnknown.HOLD:
            self.move(entry, State.HELD)
        else:
            self.move(entry, State.DEAD if entry.attempts >= entry.max_attempts else State.QUEUED)

    # --- by hand ----------------------------------------------------------------------------------

    def cancel(self, entry: Entry) -> None:
        """A person does not want it."""
        if entry.state in {State.QUEUED, State.HELD}:
            self.move(entry, State.CANCELLED)

    def hold(self, entry: Entry) -> None:
        """A person wants it to wait."""
        if entry.state is State.QUEUED:
            self.move(entry, State.HELD)

    def requeue(self, entry: Entry) -> None:
        """A person wants it to go out."""
        if entry.state in {State.DEAD, State.EXPIRED}:
            entry.attempts = 0
        if entry.state in {State.HELD, State.DEAD, State.EXPIRED}:
            self._again(entry)

    def _again(self, entry: Entry) -> None:
        if entry.expires_at <= self.now():
            entry.expires_at = self.now() + DEFAULT_TTL_S
        self._queue(entry, self.now())

    def requeue_dead(self) -> int:
        """How many were dead."""
        dead = [entry for entry in self.entries if entry.state is State.DEAD]
        for entry in dead:
            self.requeue(entry)
        return len(dead)

    def listed(self, states: Iterable[State], chat: str | None) -> list[str]:
        """The ids, the latest accepted first."""
        wanted = set(states) or set(State)
        return [
            entry.id
            for entry in reversed(self.entries)
            if entry.state in wanted and chat in {None, entry.chat}
        ]

    # --- time -------------------------------------------------------------------------------------

    def expire(self) -> int:
        """How many become expired."""
        late = [e for e in self.entries if e.state is State.QUEUED and e.expires_at <= self.now()]
        for entry in late:
            self.move(entry, State.EXPIRED)
        return len(late)

    def prune(self) -> int:
        """How many messages are forgotten."""
        gone = [
            entry
            for entry in self.entries
            if entry.finished_at is not None and entry.finished_at <= self.now() - RETENTION_S[entry.state]
        ]
        for entry in gone:
            entry.token = None  # there is nothing left to complete
            self.entries.remove(entry)
        self.early = {key: early for key, early in self.early.items() if early[1] > self.now() - HOUR}
        named = {entry.file for entry in self.entries}
        self.files = {
            sha256: kept_at
            for sha256, kept_at in self.files.items()
            if sha256 in named or kept_at > self.now() - HOUR
        }
        return len(gone)

    # --- numbers ----------------------------------------------------------------------------------

    def oldest(self) -> float | None:
        """When the first queued one was accepted."""
        return next((entry.accepted_at for entry in self.entries if entry.state is State.QUEUED), None)

    def strangers(self, since: float) -> int:
        """Chats first written to since then that never wrote."""
        return sum(at >= since and chat not in self.heard for chat, at in self.first_sent.items())

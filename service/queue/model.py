"""A message, its states, and which state may follow which.

queued -> sending -> sent -> delivered -> read
  ^  \\       |   \\-> unknown -> (receipt) delivered | (none in time) queued or held
  |   \\      +-> queued (retry, backoff)   +-> dead (permanent error, attempts used up)
  |    +-> expired, cancelled; held and released by hand
  +-- by hand from dead, expired or held; from sent, once, when the recipient asks for it again

A receipt is the truth: from wherever a message stands it leads to delivered or read, because an
attempt whose outcome was unknown may turn out, late, to have arrived.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from service.engine.content import AnyContent


class State(StrEnum):
    """Where a message is. Exactly one at a time, visible from outside."""

    QUEUED = "queued"
    SENDING = "sending"
    UNKNOWN = "unknown"  # handed to the engine, outcome not learned; receipts or time decide
    SENT = "sent"  # the server has it: one tick
    DELIVERED = "delivered"  # the recipient's device has it
    READ = "read"
    HELD = "held"  # a person decides: asked for, or the outcome is unknown and on_unknown is hold
    DEAD = "dead"  # permanent error, or attempts used up
    EXPIRED = "expired"
    CANCELLED = "cancelled"


LIVE: Final = frozenset({State.QUEUED, State.SENDING, State.UNKNOWN})
"""States that hold back later messages of the same chat. `held` does not: it waits for a person, and
a chat must not stand still for as long as that takes."""

SETTLED: Final = frozenset(
    {State.SENT, State.DELIVERED, State.READ, State.DEAD, State.EXPIRED, State.CANCELLED}
)
"""States in which nothing more is done for a message; `finished_at` says since when, retention counts
from there."""

_PROVEN: Final = frozenset({State.DELIVERED, State.READ})

TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    State.QUEUED: frozenset({State.SENDING, State.HELD, State.EXPIRED, State.CANCELLED}) | _PROVEN,
    State.SENDING: frozenset({State.QUEUED, State.SENT, State.UNKNOWN, State.DEAD}) | _PROVEN,
    State.UNKNOWN: frozenset({State.QUEUED, State.HELD, State.DEAD}) | _PROVEN,
    State.HELD: frozenset({State.QUEUED, State.CANCELLED}) | _PROVEN,
    State.SENT: frozenset({State.QUEUED}) | _PROVEN,
    State.DELIVERED: frozenset({State.READ}),
    State.READ: frozenset(),
    State.DEAD: frozenset({State.QUEUED}) | _PROVEN,
    State.EXPIRED: frozenset({State.QUEUED}) | _PROVEN,
    State.CANCELLED: _PROVEN,
}

DEFAULT_TTL_S: Final = 86_400.0
"""How long a message may wait to go out when its caller says nothing, from when it may."""

RETENTION_S: Final[dict[State, float]] = {
    State.SENT: 48 * 3600.0,  # the recipient's device may ask for the message again
    State.DELIVERED: 48 * 3600.0,
    State.READ: 48 * 3600.0,
    State.DEAD: 30 * 86_400.0,  # a person may want to look, and send it again
    State.EXPIRED: 30 * 86_400.0,
    State.CANCELLED: 48 * 3600.0,
}
"""How long a settled message is kept at least, from `finished_at`. Others are kept without limit."""


PRIORITIES: Final = range(10)
"""9 goes before 0."""


class OnUnknown(StrEnum):
    """What to do when the outcome of a send stays unknown."""

    RESEND = "resend"  # at least once: the recipient may see it twice
    HOLD = "hold"  # at most once: wait for a person


class SendResult(StrEnum):
    """How an attempt ended; the closed set that classifies every error (metric label)."""

    SENT = "sent"
    NOT_CONNECTED = "not_connected"  # never left; burns no attempt
    RETRYABLE = "retryable"
    RATE_LIMITED = "rate_limited"
    PERMANENT = "permanent"
    UNKNOWN = "unknown"  # may have left


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """What a caller hands in, validated. Times are Unix seconds; priority 9 goes before 0.

    `chat` is a JID without device (`15550000001@s.whatsapp.net`, `...@lid`, `...@g.us`).
    """

    chat: str
    content: AnyContent
    priority: int = 5
    not_before: float | None = None
    expires_at: float | None = None
    max_attempts: int = 10
    on_unknown: OnUnknown = OnUnknown.RESEND
    idempotency_key: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A kept message. Times are Unix seconds; `seq` is the order of acceptance.

    `attempts` counts attempts that have ended and may have reached the server. `secret` is new for
    each of them, so that an id found by it belongs to the last one. `worker` is set while `sending`;
    `claim_token` as long as a claim may still be completed. `resends` counts how often the recipient's device
    asked for it again and got it.
    """

    seq: int
    id: str
    chat: str
    content: AnyContent
    state: State
    priority: int
    attempts: int
    max_attempts: int
    on_unknown: OnUnknown
    accepted_at: float
    due_at: float
    expires_at: float
    idempotency_key: str | None
    traceparent: str | None
    secret: bytes
    whatsapp_id: str | None
    sent_at: float | None
    delivered_at: float | None
    read_at: float | None
    finished_at: float | None
    last_result: SendResult | None
    last_error: str | None
    claim_token: int | None = None
    worker: str | None = None
    claimed_at: float | None = None
    resends: int = 0


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What enqueue answers: the message, and whether this call made it."""

    message: Message
    created: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to send one message. `token` grows with every claim and fences its completion.

    `behind` is the claim token of the message of the same chat that this worker has in flight
    just before this one, if any: this one may only go out if that one did.
    """

    message: Message
    token: int
    behind: int | None


@dataclass(frozen=True, slots=True)
class Receipted:
    """A message that a receipt moved, as it is now, and the state that it came from."""

    message: Message
    before: State


Moves: TypeAlias = Mapping[tuple[State | None, State | None], int]
"""How many messages went from one state to another; None is outside of the store."""


class Cooling(StrEnum):
    """What stands still for a while because WhatsApp said so."""

    STRANGERS = "strangers"  # 463: chats that never wrote to us
    UNASKED = "unasked"  # 429: everything but replies


@dataclass(frozen=True, slots=True)
class Cooldown:
    """Until when (Unix seconds), and the how-manieth in a row it is."""

    until: float
    times: int


@dataclass(frozen=True, slots=True)
class Acquaintance:
    """What is known of a chat: when we first sent something there, and when it last wrote to us."""

    first_sent_at: float | None
    heard_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which messages to list, the latest accepted first: of these states (all when empty), of this chat,
    accepted before the one of seq `before`."""

    states: frozenset[State] = frozenset()
    chat: str | None = None
    before: int | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Page:
    """Listed messages; `next` is the `before` of the page that follows, None on the last one."""

    messages: list[Message]
    next: int | None

"""What each event makes of a message: pure, the same for every store, and nothing `TRANSITIONS` forbids."""

from service.errors import ClaimLost
from service.queue.assembly import changed
from service.queue.model import (
    DEFAULT_TTL_S,
    SETTLED,
    TRANSITIONS,
    Claim,
    Message,
    OnUnknown,
    SendResult,
    State,
)

_RANK = {State.DELIVERED: 1, State.READ: 2}


def claimed(message: Message, *, token: int, worker: str, now: float) -> Message:
    """Handed to a worker."""
    return _move(message, State.SENDING, now=now, claim_token=token, worker=worker, claimed_at=now)


def held_by(message: Message | None, claim: Claim) -> Message:
    """The message, if this claim on it may still be completed. Raises ClaimLost."""
    if message is None or message.claim_token != claim.token:
        raise ClaimLost(f"message {claim.message.id}: claim {claim.token} is no longer held")
    return message


def completed(
    message: Message, *, whatsapp_id: str, receipt: tuple[State, float] | None, now: float
) -> Message:
    """The server acknowledged it; `receipt` is what came first for that id, as (state, time)."""
    acknowledged = {
        "whatsapp_id": whatsapp_id,
        "attempts": message.attempts + 1,
        "sent_at": now,
        "claim_token": None,
        "last_result": SendResult.SENT,
        "last_error": None,
    }
    if message.state is State.SENDING:
        message = _move(message, State.SENT, now=now, **acknowledged)
    else:
        message = changed(message, acknowledged)
    return received_early(message, receipt, now=now)


def released(message: Message, *, now: float) -> Message:
    """Nothing of it left: as if it had never been claimed."""
    if message.state is not State.SENDING:
        return changed(message, {"claim_token": None})
    return _move(message, State.QUEUED, now=now, claim_token=None)


def postponed(message: Message, *, until: float, now: float) -> Message:
    """It was not its turn."""
    if message.state is not State.SENDING:
        return changed(message, {"claim_token": None})
    return _move(message, State.QUEUED, now=now, claim_token=None, due_at=until)


def failed(
    message: Message, *, result: SendResult, error: str, retry_at: float | None, secret: bytes, now: float
) -> Message:
    """It did not arrive at the server, for sure. The next attempt gets a new secret, because this one may
    stand in the session's store beside an id that the server refused."""
    ended = {
        "attempts": message.attempts + 1,
        "claim_token": None,
        "last_result": result,
        "last_error": error,
    }
    if message.state is not State.SENDING:
        return changed(message, ended)
    if retry_at is None or message.attempts + 1 >= message.max_attempts:
        return _move(message, State.DEAD, now=now, **ended)
    return _move(message, State.QUEUED, now=now, due_at=retry_at, secret=secret, **ended)


def unknown(
    message: Message,
    *,
    whatsapp_id: str | None,
    error: str,
    receipt: tuple[State, float] | None,
    now: float,
) -> Message:
    """It may have left."""
    ended = {
        "attempts": message.attempts + 1,
        "claim_token": None,
        "whatsapp_id": whatsapp_id or message.whatsapp_id,
        "last_result": SendResult.UNKNOWN,
        "last_error": error,
    }
    if message.state is not State.SENDING:
        return changed(message, ended)
    return received_early(_move(message, State.UNKNOWN, now=now, **ended), receipt, now=now)


def resolved(message: Message, *, secret: bytes, now: float) -> Message:
    """No receipt came in time for an `unknown` message."""
    if message.on_unknown is OnUnknown.HOLD:
        return _move(message, State.HELD, now=now)
    if message.attempts >= message.max_attempts:
        return _move(message, State.DEAD, now=now)
    return _move(message, State.QUEUED, now=now, secret=secret)


def cancelled(message: Message, *, now: float) -> Message | None:
    """A person does not want it any more; None where that comes too late."""
    if message.state not in {State.QUEUED, State.HELD}:
        return None
    return _move(message, State.CANCELLED, now=now)


def held(message: Message, *, now: float) -> Message | None:
    """A person wants it to wait; None where that comes too late."""
    return _move(message, State.HELD, now=now) if message.state is State.QUEUED else None


def requeued(message: Message, *, secret: bytes, now: float) -> Message | None:
    """A person wants it to be sent after all; None where it needs no such wish."""
    if message.state not in {State.HELD, State.DEAD, State.EXPIRED}:
        return None
    anew: dict[str, object] = {"due_at": now, "secret": secret}
    if message.state is not State.HELD:
        anew["attempts"] = 0
    if message.expires_at <= now:
        anew["expires_at"] = now + DEFAULT_TTL_S
    return _move(message, State.QUEUED, now=now, **anew)


def resent(message: Message, *, secret: bytes, now: float) -> Message | None:
    """The recipient asks for it again; None when it got a second one already, or does not need it."""
    if message.state is not State.SENT or message.resends:
        return None
    anew: dict[str, object] = {"due_at": now, "secret": secret, "sent_at": None, "resends": 1}
    if message.expires_at <= now:
        anew["expires_at"] = now + DEFAULT_TTL_S
    return _move(message, State.QUEUED, now=now, **anew)


def expired(message: Message, *, now: float) -> Message:
    """Its time is over."""
    return _move(message, State.EXPIRED, now=now)


def received(message: Message, state: State, *, at: float, now: float) -> Message | None:
    """What a receipt of time `at` makes of it; None when it says nothing new."""
    if _RANK[state] <= _RANK.get(message.state, 0):
        return None
    delivered_at = at if message.delivered_at is None else message.delivered_at
    read_at = at if state is State.READ else None
    return _move(message, state, now=now, delivered_at=delivered_at, read_at=read_at)


def received_early(message: Message, receipt: tuple[State, float] | None, *, now: float) -> Message:
    """The message with a receipt applied that had come before its send returned."""
    if receipt is None:
        return message
    state, at = receipt
    return received(message, state, at=at, now=now) or message


def further(receipt: tuple[State, float] | None, state: State) -> bool:
    """Whether `state` says more than the receipt that is remembered."""
    return receipt is None or _RANK[state] > _RANK[receipt[0]]


def _move(message: Message, state: State, *, now: float, **changes: object) -> Message:
    if state not in TRANSITIONS[message.state]:
        raise AssertionError(f"message {message.id}: {message.state} may not become {state}")
    if state is not State.SENDING:
        changes["worker"] = None
    finished_at = now if state in SETTLED else None
    return changed(message, {"state": state, "finished_at": finished_at, **changes})

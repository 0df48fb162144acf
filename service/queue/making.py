"""A message as it begins, the same in every store."""

import os
from typing import Final

from uuid_utils import uuid7

from service.queue.model import DEFAULT_TTL_S, Message, NewMessage, State

SECRET_BYTES: Final = 32


def new_secret() -> bytes:
    """What an attempt is found by in the session's store."""
    return os.urandom(SECRET_BYTES)


def made(new: NewMessage, *, now: float) -> Message:
    """The message of what a caller hands in; the store gives the `seq`, which is 0 here."""
    due_at = now if new.not_before is None else new.not_before
    return Message(
        seq=0,
        id=str(uuid7()),
        chat=new.chat,
        content=new.content,
        state=State.QUEUED,
        priority=new.priority,
        attempts=0,
        max_attempts=new.max_attempts,
        on_unknown=new.on_unknown,
        accepted_at=now,
        due_at=due_at,
        expires_at=max(now, due_at) + DEFAULT_TTL_S if new.expires_at is None else new.expires_at,
        idempotency_key=new.idempotency_key,
        traceparent=new.traceparent,
        secret=new_secret(),
        whatsapp_id=None,
        sent_at=None,
        delivered_at=None,
        read_at=None,
        finished_at=None,
        last_result=None,
        last_error=None,
    )

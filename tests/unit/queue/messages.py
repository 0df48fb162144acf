"""Messages for tests, as a store would keep them."""

from service.engine.content import Text
from service.queue.model import Message, NewMessage, OnUnknown, State
from tests.people import ANN

NOW = 1_700_000_000.0


def text_of(message: Message | NewMessage) -> str:
    """What a text says."""
    assert isinstance(message.content, Text)
    return message.content.text


def message(
    *,
    state: State = State.QUEUED,
    attempts: int = 0,
    max_attempts: int = 10,
    on_unknown: OnUnknown = OnUnknown.RESEND,
    last_error: str | None = None,
) -> Message:
    """A message to Ann, in some state."""
    sending = state is State.SENDING
    return Message(
        seq=1,
        id="m1",
        chat=f"{ANN}@s.whatsapp.net",
        content=Text(text="hello"),
        state=state,
        priority=5,
        attempts=attempts,
        max_attempts=max_attempts,
        on_unknown=on_unknown,
        accepted_at=NOW,
        due_at=NOW,
        expires_at=NOW + 86_400,
        idempotency_key=None,
        traceparent=None,
        secret=b"s" * 32,
        whatsapp_id=None,
        sent_at=None,
        delivered_at=None,
        read_at=None,
        finished_at=None,
        last_result=None,
        last_error=last_error,
        claim_token=7 if sending else None,
        worker="w" if sending else None,
        claimed_at=NOW if sending else None,
    )

"""The API's models: what validates a request is what documents it.

Times in answers are RFC 3339 in UTC with milliseconds; in requests they may also be Unix seconds.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from service.errors import InvalidInput
from service.queue.content import MAX_TEXT_BYTES, parse_text
from service.queue.model import Enqueued, Message, OnUnknown, SendResult
from service.queue.model import State as MessageState
from service.reconnect.status import Advice
from service.reconnect.status import State as SessionState
from service.web import limits
from service.web.problem import FieldError

SHOWN_CHARS: Final = 60


def rfc3339(seconds: float) -> str:
    """Unix seconds as people and programs read them: `2026-11-21T18:34:00.000Z`."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_or_none(seconds: float | None) -> str | None:
    """The same for a time that may not have come."""
    return None if seconds is None else rfc3339(seconds)


def _instant(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is not None:
            return moment.timestamp()
    raise PydanticCustomError("instant", "not a time")


def _text(value: object) -> object:
    if not isinstance(value, str):
        return value
    kind = "too_large" if len(value.encode(errors="replace")) > MAX_TEXT_BYTES else "not_a_text"
    try:
        return parse_text(value, field="text")
    except InvalidInput as error:
        raise PydanticCustomError(kind, "{sentence}", {"sentence": error.sentence}) from None


Instant = Annotated[float, BeforeValidator(_instant, json_schema_input_type=float | str)]
Text = Annotated[str, BeforeValidator(_text)]


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class NewMessageIn(_Input):
    """One message to send. Each description says what is allowed, and is quoted when a value is not."""

    to: str = Field(min_length=1, max_length=100, description="a phone number with country code, or a JID")
    text: Text = Field(description=f"text of 1 to {MAX_TEXT_BYTES} bytes of UTF-8, not only space")
    priority: int = Field(5, ge=0, le=9, description="a whole number from 0 to 9; higher goes first")
    not_before: Instant | None = Field(
        None, description="a time, as RFC 3339 with offset or Unix seconds, at most 366 days ahead"
    )
    expires_at: Instant | None = Field(
        None, description="a time to come, as RFC 3339 with offset or Unix seconds, at most 366 days ahead"
    )
    ttl_s: float | None = Field(
        None,
        gt=0,
        le=limits.HORIZON_S,
        description="seconds from now, above 0 and at most 366 days",
    )
    max_attempts: int = Field(
        10, ge=1, le=limits.MAX_ATTEMPTS, description=f"a whole number from 1 to {limits.MAX_ATTEMPTS}"
    )
    on_unknown: OnUnknown = Field(OnUnknown.RESEND, strict=False, description="resend or hold")
    idempotency_key: str | None = Field(
        None,
        min_length=1,
        max_length=limits.IDEMPOTENCY_KEY_CHARS,
        pattern=r"^[\x21-\x7e]+$",
        description=f"1 to {limits.IDEMPOTENCY_KEY_CHARS} printable ASCII characters without space",
    )


class BatchIn(_Input):
    """Many messages, kept all or none."""

    messages: list[Any] = Field(
        min_length=1,
        max_length=limits.BATCH_MESSAGES,
        description=f"an array of 1 to {limits.BATCH_MESSAGES} messages",
    )


class PairIn(_Input):
    """The phone to link by a code."""

    phone: str = Field(min_length=1, max_length=40, description="a phone number with country code")


class MessageOut(BaseModel):
    """What is known of a message. Its text is not repeated: who sent it has it."""

    id: str
    to: str = Field(description="the chat as a JID")
    state: MessageState
    priority: int
    attempts: int
    max_attempts: int
    on_unknown: OnUnknown
    accepted_at: str
    due_at: str
    expires_at: str
    sent_at: str | None
    delivered_at: str | None
    read_at: str | None
    finished_at: str | None
    whatsapp_id: str | None
    last_result: SendResult | None
    last_error: str | None
    idempotency_key: str | None

    @classmethod
    def of(cls, message: Message) -> "MessageOut":
        """The view of a kept message."""
        return cls(**_fields(message))


class AcceptedOut(MessageOut):
    """A message as accepted. `created` is false when its idempotency key had been used before: then this
    is the first message, as it is now."""

    created: bool

    @classmethod
    def accepted(cls, enqueued: Enqueued) -> "AcceptedOut":
        """The view of what enqueue answered."""
        return cls(**_fields(enqueued.message), created=enqueued.created)


class BatchOut(BaseModel):
    """The accepted messages, in the order they were given."""

    messages: list[AcceptedOut]


class QrOut(BaseModel):
    """The code to scan, four times the same."""

    text: str = Field(description="what the code says; draw it yourself if you like")
    terminal: str = Field(description="lines of block characters for a dark terminal")
    svg: str = Field(description="an <svg> element")
    png: str = Field(description="a data: URI")


class SessionOut(BaseModel):
    """The connection to WhatsApp."""

    state: SessionState
    title: str = Field(description="the state in words")
    tone: Literal["good", "busy", "wait", "bad"] = Field(description="how the page colours it")
    reason: str
    sentence: str
    advice: Advice
    advice_sentence: str
    since: str
    attempt: int
    next_attempt_at: str | None
    pair_code: str | None
    qr: QrOut | None


class PairOut(BaseModel):
    """What the person types into the phone."""

    code: str


class QueueOut(BaseModel):
    """The queue in numbers."""

    counts: dict[MessageState, int]
    oldest_queued_at: str | None


class ServiceOut(BaseModel):
    """Which program answers, since when."""

    version: str
    started_at: str


class EventOut(BaseModel):
    """One event of the live stream: everything the page shows."""

    at: str
    service: ServiceOut
    session: SessionOut
    queue: QueueOut


def field_errors(error: ValidationError, model: type[BaseModel], *, under: str = "") -> list[FieldError]:
    """What pydantic found, each as a sentence that names the value and what is allowed."""
    return [_field_error(details, model, under) for details in error.errors(include_url=False)]


def is_too_large(error: ValidationError) -> bool:
    """Whether size is what is wrong (413 rather than 422)."""
    return any(details["type"] == "too_large" for details in error.errors(include_url=False))


def shown(value: object) -> str:
    """A value as it may stand in a sentence: short, on one line."""
    text = repr(value) if not isinstance(value, bool | None) else str(value).lower().replace("none", "null")
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"


def _field_error(details: ErrorDetails, model: type[BaseModel], under: str) -> FieldError:
    name = str(details["loc"][0]) if details["loc"] else ""
    path = f"{under}.{shown_name(name)}" if under else shown_name(name)
    kind = details["type"]
    if kind == "extra_forbidden":
        return FieldError(path, f"is not a field; allowed are {', '.join(model.model_fields)}")
    rule = model.model_fields[name].description if name in model.model_fields else None
    if kind == "missing":
        return FieldError(path, f"is missing; must be {rule}")
    if kind in _SAYS_IT_ITSELF:
        return FieldError(path, details["msg"])
    return FieldError(path, f"{shown(details['input'])}: must be {rule or details['msg']}")


def shown_name(name: str) -> str:
    """A field's name as it may stand in a sentence, whatever the caller sent."""
    return name if name.isprintable() and len(name) <= SHOWN_CHARS else shown(name)


_SAYS_IT_ITSELF: Final = frozenset({"too_large", "not_a_text"})


def _fields(message: Message) -> Mapping[str, Any]:
    times: Iterable[str] = ("sent_at", "delivered_at", "read_at", "finished_at")
    return {
        "id": message.id,
        "to": message.chat,
        "state": message.state,
        "priority": message.priority,
        "attempts": message.attempts,
        "max_attempts": message.max_attempts,
        "on_unknown": message.on_unknown,
        "accepted_at": rfc3339(message.accepted_at),
        "due_at": rfc3339(message.due_at),
        "expires_at": rfc3339(message.expires_at),
        **{name: rfc3339_or_none(getattr(message, name)) for name in times},
        "whatsapp_id": message.whatsapp_id,
        "last_result": message.last_result,
        "last_error": message.last_error,
        "idempotency_key": message.idempotency_key,
    }

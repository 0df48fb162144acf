"""The API's models: what validates a request is what documents it.

Times in answers are RFC 3339 in UTC with milliseconds; in requests they may also be Unix seconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from service.backup.views import BackupStatusOut
from service.clock import rfc3339, rfc3339_or_none
from service.queue.model import Enqueued, Message, OnUnknown, SendResult
from service.queue.model import State as MessageState
from service.reconnect.status import Advice
from service.reconnect.status import State as SessionState
from service.web.problem import FieldError

SHOWN_CHARS: Final = 60


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


Instant = Annotated[float, BeforeValidator(_instant, json_schema_input_type=float | str)]


class Input(BaseModel):
    """What callers send: no field that is not known, no value that is not of its type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class PairIn(Input):
    """The phone to link by a code."""

    phone: str = Field(min_length=1, max_length=40, description="a phone number with country code")


class MessageOut(BaseModel):
    """What is known of a message. Its text is not repeated: who sent it has it."""

    id: str
    to: str = Field(description="the chat as a JID")
    type: str = Field(description="the kind of its content")
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


class PageOut(BaseModel):
    """Listed messages, the latest accepted first."""

    messages: list[MessageOut]
    next_cursor: str | None = Field(description="`cursor` of the page that follows; null on the last one")


class FieldErrorOut(BaseModel):
    """What is wrong with one field."""

    field: str = Field(description="a path such as `messages[3].to`")
    message: str


class ProblemOut(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str = Field(description="names the problem for programs", pattern="^urn:problem-type:beacon:")
    title: str
    status: int
    detail: str = Field(description="names what is wrong for people")
    errors: list[FieldErrorOut] | None = Field(None, description="each fault, where there may be many")
    state: MessageState | None = Field(None, description="a message's state, where that is in the way")
    reason: str | None = Field(None, description="of a backup that was not made or is not good")


class HealthOut(BaseModel):
    """Verdict and checks, after draft-inadarei-api-health-check-06."""

    status: Literal["pass", "warn", "fail"]
    output: str | None = Field(None, description="why, when it is not pass")
    checks: dict[str, list[dict[str, Any]]] | None = None


class RequeuedOut(BaseModel):
    """How many messages are tried again."""

    requeued: int


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
    backup: BackupStatusOut


def field_errors(error: ValidationError, model: type[BaseModel], *, under: str = "") -> list[FieldError]:
    """What pydantic found, each as a sentence that names the value and what is allowed."""
    return [_field_error(details, model, under) for details in error.errors(include_url=False)]


def shown(value: object) -> str:
    """A value as it may stand in a sentence: short, on one line."""
    text = repr(value) if not isinstance(value, bool | None) else str(value).lower().replace("none", "null")
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"


def _field_error(details: ErrorDetails, model: type[BaseModel], under: str) -> FieldError:
    path, kind = _path(details["loc"], under), details["type"]
    holder, rule = _described(details["loc"], model)
    if kind == "extra_forbidden":
        return FieldError(path, f"is not a field; allowed are {', '.join(holder.model_fields)}")
    if kind == "missing":
        return FieldError(path, f"is missing; must be {rule}")
    return FieldError(path, f"{shown(details['input'])}: must be {rule or details['msg']}")


def _path(location: Sequence[int | str], under: str) -> str:
    """`messages[3].reply_to.id`."""
    path = under
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{shown_name(part)}" if path else shown_name(part)
    return path


def _described(location: Sequence[int | str], model: type[BaseModel]) -> tuple[type[BaseModel], str | None]:
    """The innermost model on the way to a place, and what the place's field says is allowed."""
    rule: str | None = None
    for part in location:
        if isinstance(part, int):
            continue  # an item is described with its list
        if (field := model.model_fields.get(part)) is None:
            return model, None
        rule = field.description
        inner = [one for one in get_args(field.annotation) or (field.annotation,) if _is_model(one)]
        model = inner[0] if inner else model
    return model, rule


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def shown_name(name: str) -> str:
    """A field's name as it may stand in a sentence, whatever the caller sent."""
    return name if name.isprintable() and len(name) <= SHOWN_CHARS else shown(name)


def _fields(message: Message) -> Mapping[str, Any]:
    times: Iterable[str] = ("sent_at", "delivered_at", "read_at", "finished_at")
    return {
        "id": message.id,
        "to": message.chat,
        "type": message.content.__struct_config__.tag,
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

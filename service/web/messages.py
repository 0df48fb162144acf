"""`/api/v1/messages`: hand in one message or many, ask what became of one.

One object in, one object out, with its address in `Location`; `{"messages": [...]}` in, the same out.
Either everything is kept, on disk before the 202, or nothing.
"""

from http import HTTPStatus
from typing import Any, Final

from aiohttp import hdrs, web
from pydantic import ValidationError

from service.clock import Clock
from service.engine.content import Text
from service.errors import InvalidInput
from service.queue.address import parse_chat
from service.queue.model import NewMessage
from service.web import limits, problem
from service.web.body import read_object
from service.web.ports import Outbox
from service.web.problem import FieldError
from service.web.schemas import (
    AcceptedOut,
    BatchIn,
    BatchOut,
    MessageOut,
    NewMessageIn,
    field_errors,
    is_too_large,
    rfc3339,
    shown,
)

IDEMPOTENCY_KEY: Final = "Idempotency-Key"


class Messages:
    """The handlers."""

    def __init__(self, *, outbox: Outbox, clock: Clock) -> None:
        self._outbox = outbox
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Where they answer."""
        return [web.post("/api/v1/messages", self.post), web.get("/api/v1/messages/{id}", self.get)]

    async def post(self, request: web.Request) -> web.Response:
        """202 with the kept messages, or a problem and nothing kept."""
        body = await read_object(request, limit_bytes=limits.BODY_BYTES)
        header = _key_from(request)
        if "messages" in body:
            if header is not None:
                raise problem.invalid([FieldError(IDEMPOTENCY_KEY, _NOT_FOR_A_BATCH)])
            return await self._batch(body)
        return await self._single(body, header)

    async def get(self, request: web.Request) -> web.Response:
        """200 with what is known of the message."""
        message_id = request.match_info["id"]
        message = await self._outbox.get(message_id)
        if message is None:
            raise problem.not_found(f"{shown(message_id)}: no message with this id is kept.")
        return web.json_response(text=MessageOut.of(message).model_dump_json())

    async def _single(self, body: dict[str, Any], header: str | None) -> web.Response:
        if header is not None and body.setdefault("idempotency_key", header) != header:
            raise problem.invalid(
                [FieldError("idempotency_key", f"must be the same as the header {IDEMPOTENCY_KEY}")]
            )
        (enqueued,) = await self._outbox.enqueue(_checked([body], now=self._clock.now(), path=""))
        accepted = AcceptedOut.accepted(enqueued)
        return web.json_response(
            text=accepted.model_dump_json(),
            status=HTTPStatus.ACCEPTED,
            headers={hdrs.LOCATION: f"/api/v1/messages/{accepted.id}"},
        )

    async def _batch(self, body: dict[str, Any]) -> web.Response:
        try:
            batch = BatchIn.model_validate(body)
        except ValidationError as error:
            raise problem.invalid(_batch_errors(error, body)) from None
        kept = await self._outbox.enqueue(
            _checked(batch.messages, now=self._clock.now(), path="messages[{}]")
        )
        answer = BatchOut(messages=[AcceptedOut.accepted(enqueued) for enqueued in kept])
        return web.json_response(text=answer.model_dump_json(), status=HTTPStatus.ACCEPTED)


_NOT_FOR_A_BATCH: Final = "is for a single message; in a batch give each message its own idempotency_key"


def _key_from(request: web.Request) -> str | None:
    """The header's value, with or without the quotes that the IETF draft asks for."""
    values = request.headers.getall(IDEMPOTENCY_KEY, [])
    if len(values) > 1:
        raise problem.invalid([FieldError(IDEMPOTENCY_KEY, "must be given once")])
    if not values:
        return None
    value = values[0].strip()
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] == '"' else value


def _batch_errors(error: ValidationError, body: dict[str, Any]) -> list[FieldError]:
    """The array itself is never quoted: it may be long."""
    given = body["messages"]
    if isinstance(given, list) and not 1 <= len(given) <= limits.BATCH_MESSAGES:
        sentence = f"holds {len(given)}: must be an array of 1 to {limits.BATCH_MESSAGES} messages"
        return [FieldError("messages", sentence)]
    return field_errors(error, BatchIn)


def _checked(bodies: list[Any], *, now: float, path: str) -> list[NewMessage]:
    """Every message, validated. Raises Problem (422, or 413 when only sizes are wrong) naming each fault."""
    good: list[NewMessage] = []
    wrong: list[FieldError] = []
    large: list[FieldError] = []
    for index, body in enumerate(bodies):
        under = path.format(index)
        try:
            good.append(_new_message(NewMessageIn.model_validate(body), now=now))
        except ValidationError as error:
            if not isinstance(body, dict):
                wrong.append(FieldError(under, f"{shown(body)}: must be an object"))
            else:
                (large if is_too_large(error) else wrong).extend(
                    field_errors(error, NewMessageIn, under=under)
                )
        except InvalidInput as error:
            wrong.append(FieldError(f"{under}.{error.field}" if under else error.field, error.sentence))
    if wrong:
        raise problem.invalid(wrong + large)
    if large:
        raise problem.too_large(f"{large[0].field}: {large[0].message}", large)
    return good


def _new_message(given: NewMessageIn, *, now: float) -> NewMessage:
    """Raises InvalidInput for what only shows when fields are seen together, or against the clock."""
    return NewMessage(
        chat=_chat(given.to),
        content=Text(text=given.text),
        priority=given.priority,
        not_before=_within_horizon("not_before", given.not_before, now=now),
        expires_at=_expiry(given, now=now),
        max_attempts=given.max_attempts,
        on_unknown=given.on_unknown,
        idempotency_key=given.idempotency_key,
    )


def _chat(to: str) -> str:
    try:
        return parse_chat(to, field="to")
    except InvalidInput as error:  # its sentence may be logged, so it does not quote the value; ours does
        raise InvalidInput("to", f"{shown(to)}: {error.sentence}") from None


def _expiry(given: NewMessageIn, *, now: float) -> float | None:
    earliest = max(now, given.not_before or now)
    if given.ttl_s is not None:
        if given.expires_at is not None:
            raise InvalidInput("ttl_s", "must not be given together with expires_at")
        field, expiry = "ttl_s", now + given.ttl_s
    elif given.expires_at is not None:
        field, expiry = "expires_at", given.expires_at
        _within_horizon(field, expiry, now=now)
    else:
        return None  # the queue's own default
    if expiry <= earliest:
        raise InvalidInput(field, f"ends at {rfc3339(expiry)}: must be later than {rfc3339(earliest)}")
    return expiry


def _within_horizon(field: str, moment: float | None, *, now: float) -> float | None:
    if moment is not None and not 0 <= moment <= now + limits.HORIZON_S:
        raise InvalidInput(
            field,
            f"{_moment(moment)}: must be RFC 3339 or Unix seconds, at most 366 days after {rfc3339(now)}",
        )
    return moment


def _moment(seconds: float) -> str:
    """A time that a caller sent, which may be no time at all."""
    try:
        return rfc3339(seconds)
    except (OverflowError, ValueError, OSError):
        return shown(seconds)

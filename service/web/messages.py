"""`/api/v1/messages`: hand in one message or many, ask what became of them, change one's mind.

One object in, one object out, with its address in `Location`; `{"messages": [...]}` in, the same out. A file
comes in the same request, as multipart/form-data, or by a URL. Either everything is kept, on disk before the
202, or nothing.
"""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

from aiohttp import hdrs, web
from pydantic import ValidationError

from service.clock import Clock, rfc3339_or_none
from service.errors import InvalidInput
from service.queue.model import Enqueued, Message
from service.queue.model import State as MessageState
from service.web import limits, problem
from service.web.body import read_object
from service.web.contents import BatchIn, MediaIn
from service.web.intake import Draft, check_all, drafts, told_all
from service.web.listing import cursor_of, query_from
from service.web.media import Media
from service.web.ports import Outbox
from service.web.problem import FieldError, from_inputs
from service.web.schemas import (
    AcceptedOut,
    BatchOut,
    MessageOut,
    PageOut,
    QueueOut,
    RequeuedOut,
    field_errors,
    shown,
)
from service.web.upload import FORM

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
MESSAGES: Final = "/api/v1/messages"
QUEUE: Final = "/api/v1/queue"

_ID: Final = "{id:(?!retry-dead$)[^/]+}"
"""Else `retry-dead` would answer to GET, as a message that is not kept."""


class Messages:
    """The handlers."""

    def __init__(self, *, outbox: Outbox, media: Media, clock: Clock) -> None:
        self._outbox = outbox
        self._media = media
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Where they answer."""
        return [
            web.post(MESSAGES, self.post),
            web.get(MESSAGES, self.list),
            web.post(f"{MESSAGES}/retry-dead", self.retry_dead),
            web.get(f"{MESSAGES}/{_ID}", self.get),
            web.delete(f"{MESSAGES}/{_ID}", self.cancel),
            web.get(QUEUE, self.stats),
            web.post(f"{MESSAGES}/{{id}}/retry", self.retry),
            web.post(f"{MESSAGES}/{{id}}/hold", self.hold),
            web.post(f"{MESSAGES}/{{id}}/release", self.release),
        ]

    async def post(self, request: web.Request) -> web.Response:
        """202 with the kept messages, or a problem and nothing kept."""
        header = _key_from(request)
        if request.content_type == FORM:
            return await self._upload(request, header)
        body = await read_object(request, limit_bytes=limits.BODY_BYTES)
        if "messages" not in body:
            (draft,) = self._drafts([_keyed(body, header)])
            return _single(await self._keep([draft]))
        if header is not None:
            raise problem.invalid([FieldError(IDEMPOTENCY_KEY, _NOT_FOR_A_BATCH)])
        kept = await self._keep(self._drafts(_batch_from(body), path="messages[{}]"))
        answer = BatchOut(messages=[AcceptedOut.accepted(enqueued) for enqueued in kept])
        return web.json_response(text=answer.model_dump_json(), status=HTTPStatus.ACCEPTED)

    async def list(self, request: web.Request) -> web.Response:
        """200 with a page of messages, the latest accepted first."""
        page = await self._outbox.find(query_from(request.query))
        answer = PageOut(
            messages=[MessageOut.of(message) for message in page.messages], next_cursor=cursor_of(page)
        )
        return web.json_response(text=answer.model_dump_json())

    async def get(self, request: web.Request) -> web.Response:
        """200 with what is known of the message."""
        return await self._asked(request, self._outbox.get)

    async def cancel(self, request: web.Request) -> web.Response:
        """200 with the message, which will not be sent; 409 when WhatsApp has it or it is over."""
        return await self._asked(request, self._outbox.cancel, wanted=MessageState.CANCELLED)

    async def retry(self, request: web.Request) -> web.Response:
        """200 with the message, which is tried again; 409 unless it was dead, expired or held."""
        return await self._asked(request, self._outbox.requeue, wanted=MessageState.QUEUED)

    async def hold(self, request: web.Request) -> web.Response:
        """200 with the message, which waits until it is released; 409 unless it was queued."""
        return await self._asked(request, self._outbox.hold, wanted=MessageState.HELD)

    async def release(self, request: web.Request) -> web.Response:
        """200 with the message, which waits for its turn again; 409 unless it was held."""
        return await self._asked(request, self._outbox.release, wanted=MessageState.QUEUED)

    async def retry_dead(self, _: web.Request) -> web.Response:
        """200 with how many dead messages are tried again."""
        answer = RequeuedOut(requeued=await self._outbox.requeue_dead())
        return web.json_response(text=answer.model_dump_json())

    async def stats(self, _: web.Request) -> web.Response:
        """200 with how many messages there are in each state."""
        return web.json_response(text=queue_out(self._outbox).model_dump_json())

    async def _asked(
        self,
        request: web.Request,
        ask: Callable[[str], Awaitable[Message | None]],
        *,
        wanted: MessageState | None = None,
    ) -> web.Response:
        message_id = request.match_info["id"]
        message = await ask(message_id)
        if message is None:
            raise problem.not_found(f"{shown(message_id)}: no message with this id is kept.")
        if wanted is not None and message.state is not wanted:
            sentence = f"The message is {message.state}; it cannot become {wanted} from there."
            raise problem.conflict(sentence, state=message.state)
        return web.json_response(text=MessageOut.of(message).model_dump_json())

    async def _upload(self, request: web.Request, header: str | None) -> web.Response:
        upload = await self._media.read(request)
        if "messages" in upload.message:
            raise problem.invalid([FieldError("messages", "a file comes with a single message, not a batch")])
        (draft,) = self._drafts([_keyed(upload.message, header)])
        check_all([draft], now=self._clock.now())
        return _single(await self._enqueue([await self._media.keep(draft, upload.file)]))

    def _drafts(self, bodies: Sequence[Any], *, path: str = "") -> Sequence[Draft]:
        return drafts(bodies, now=self._clock.now(), path=path)

    async def _keep(self, given: Sequence[Draft]) -> Sequence[Enqueued]:
        if any(isinstance(draft.given, MediaIn) for draft in given):
            check_all(given, now=self._clock.now())
            given = await self._media.fetch_all(given)
        return await self._enqueue(given)

    async def _enqueue(self, given: Sequence[Draft]) -> Sequence[Enqueued]:
        try:
            return await self._outbox.enqueue([draft.message for draft in given])
        except InvalidInput as fault:
            raise from_inputs(told_all(fault, given)) from None


def queue_out(outbox: Outbox) -> QueueOut:
    """The queue in numbers, as the API and the live stream show it."""
    return QueueOut(counts=dict(outbox.counts()), oldest_queued_at=rfc3339_or_none(outbox.oldest_queued_at()))


_NOT_FOR_A_BATCH: Final = "is for a single message; in a batch give each message its own idempotency_key"


def _single(kept: Sequence[Enqueued]) -> web.Response:
    (enqueued,) = kept
    accepted = AcceptedOut.accepted(enqueued)
    return web.json_response(
        text=accepted.model_dump_json(),
        status=HTTPStatus.ACCEPTED,
        headers={hdrs.LOCATION: f"{MESSAGES}/{accepted.id}"},
    )


def _key_from(request: web.Request) -> str | None:
    """The header's value, with or without the quotes that the IETF draft asks for."""
    values = request.headers.getall(IDEMPOTENCY_KEY, [])
    if len(values) > 1:
        raise problem.invalid([FieldError(IDEMPOTENCY_KEY, "must be given once")])
    if not values:
        return None
    value = values[0].strip()
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] == '"' else value


def _keyed(body: dict[str, Any], header: str | None) -> dict[str, Any]:
    """The message with the header's key, which may stand in it, too."""
    if header is not None and body.setdefault("idempotency_key", header) != header:
        sentence = f"must be the same as the header {IDEMPOTENCY_KEY}"
        raise problem.invalid([FieldError("idempotency_key", sentence)])
    return body


def _batch_from(body: dict[str, Any]) -> Sequence[Any]:
    """The messages. The array itself is never quoted: it may be long."""
    try:
        return BatchIn.model_validate(body).messages
    except ValidationError as error:
        given = body["messages"]
        if isinstance(given, list) and not 1 <= len(given) <= limits.BATCH_MESSAGES:
            sentence = f"holds {len(given)}: must be an array of 1 to {limits.BATCH_MESSAGES} messages"
            raise problem.invalid([FieldError("messages", sentence)]) from None
        raise problem.invalid(field_errors(error, BatchIn)) from None

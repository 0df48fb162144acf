"""`/api/openapi.json` (OpenAPI 3.1): the served routes, described by the models that validate and answer.

A route that is served and not described here, or the other way round, does not start.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

import service
from service.backup.views import BackupsOut, PrunedOut, ReportOut, RotatedOut, VerifiedOut
from service.queue.model import State as MessageState
from service.web import limits
from service.web.access import ALERTS
from service.web.backups import BACKUPS, SEQUENCE
from service.web.contents import KINDS, BatchIn
from service.web.listing import DEFAULT_LIMIT
from service.web.messages import IDEMPOTENCY_KEY, MESSAGES, QUEUE
from service.web.probes import CONTENT_TYPE as HEALTH
from service.web.problem import CONTENT_TYPE as PROBLEM
from service.web.schemas import (
    AcceptedOut,
    BatchOut,
    EventOut,
    HealthOut,
    MessageOut,
    PageOut,
    PairIn,
    PairOut,
    ProblemOut,
    QueueOut,
    RequeuedOut,
    SessionOut,
)
from service.web.upload import FILE, FORM, MESSAGE
from service.web.webhooks import NotificationIn

PATH: Final = "/api/openapi.json"
JSON: Final = "application/json"
SESSION: Final = "/api/v1/session"
ALWAYS: Final = (401, 403, 421, 500)
"""Not signed in; from another site; not the name of this machine; a fault of Beacon."""

STORE: Final = (503, 507)
Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one route. `body` and `answers` are by media type; an answer is a model, or None for
    what is no JSON."""

    tag: str
    summary: str
    answers: Mapping[str, type[BaseModel] | Schema | None]
    status: int = 200
    body: Mapping[str, Schema] = field(default_factory=dict)
    parameters: Sequence[Schema] = ()
    problems: Sequence[int] = ()


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _parameter(name: str, where: str, schema: Schema, description: str, **more: object) -> Schema:
    return {"name": name, "in": where, "schema": schema, "description": description, **more}


_LIST: Final = (
    _parameter(
        "state",
        "query",
        {"type": "array", "items": {"enum": [state.value for state in MessageState]}, "minItems": 1},
        "Only of these states.",
        style="form",
        explode=True,
    ),
    _parameter(
        "chat",
        "query",
        {"type": "string", "minLength": 1, "maxLength": 100},
        "Only of this chat: a phone number or a JID.",
    ),
    _parameter("cursor", "query", {"type": "string", "minLength": 1}, "The `next_cursor` of a page."),
    _parameter(
        "limit",
        "query",
        {"type": "integer", "minimum": 1, "maximum": limits.LIST_MESSAGES, "default": DEFAULT_LIMIT},
        "Most messages on the page.",
    ),
)
_IN_PATHS: Final = (
    _parameter("id", "path", {"type": "string"}, "A message's id.", required=True),
    _parameter(
        "sequence",
        "path",
        {"type": "string", "pattern": SEQUENCE},
        "A backup's number, or `newest`.",
        required=True,
    ),
)
_KEY: Final = _parameter(
    IDEMPOTENCY_KEY,
    "header",
    {"type": "string", "pattern": "^[!-~]+$", "maxLength": limits.IDEMPOTENCY_KEY_CHARS},
    "The same key twice sends once. For a single message.",
)
_UPLOAD: Final[Schema] = {
    "type": "object",
    "properties": {
        MESSAGE: {**_ref("NewMessage"), "description": "a message of a kind that has a file, without `url`"},
        FILE: {"type": "string", "format": "binary", "description": "at most MEDIA_MAX_MB"},
    },
    "required": [MESSAGE, FILE],
    "additionalProperties": False,
}
_ANY_BODY: Final[Mapping[str, Schema]] = {JSON: {"description": "Not read; its content type is."}}


def _wish(summary: str) -> Operation:
    return Operation("messages", summary, {JSON: MessageOut}, problems=(404, 409, *STORE))


def _connection(summary: str, *, body: bool = True) -> Operation:
    wanted = _ANY_BODY if body else {}
    problems = (409, 415, 503) if body else (409, 503)
    return Operation("session", summary, {JSON: SessionOut}, status=202, body=wanted, problems=problems)


def _probe(summary: str) -> Operation:
    return Operation("health", summary, {HEALTH: HealthOut})


def _picture(summary: str, media_type: str) -> Operation:
    return Operation("session", summary, {media_type: None}, problems=(404,))


OPERATIONS: Final[dict[tuple[str, str], Operation]] = {
    ("POST", MESSAGES): Operation(
        "messages",
        "Hand in one message or up to a thousand, all kept or none",
        {JSON: {"anyOf": [_ref("AcceptedOut"), _ref("BatchOut")]}},
        status=202,
        body={JSON: {"anyOf": [_ref("NewMessage"), _ref("BatchIn")]}, FORM: _UPLOAD},
        parameters=(_KEY,),
        problems=(400, 408, 413, 415, 422, 424, *STORE),
    ),
    ("GET", MESSAGES): Operation(
        "messages",
        "List messages, the latest accepted first",
        {JSON: PageOut},
        parameters=_LIST,
        problems=(422, *STORE),
    ),
    ("POST", f"{MESSAGES}/retry-dead"): Operation(
        "messages", "Try every dead message again", {JSON: RequeuedOut}, problems=STORE
    ),
    ("GET", f"{MESSAGES}/{{id}}"): Operation(
        "messages", "What became of a message", {JSON: MessageOut}, problems=(404, *STORE)
    ),
    ("DELETE", f"{MESSAGES}/{{id}}"): _wish("Take a message back that has not been handed to WhatsApp"),
    ("POST", f"{MESSAGES}/{{id}}/retry"): _wish("Try a dead, expired or held message again"),
    ("POST", f"{MESSAGES}/{{id}}/hold"): _wish("Let a queued message wait until it is released"),
    ("POST", f"{MESSAGES}/{{id}}/release"): _wish("Let a held message go out"),
    ("GET", QUEUE): Operation("messages", "How many messages there are in each state", {JSON: QueueOut}),
    ("POST", ALERTS): Operation(
        "alerts",
        "Tell the chats of ALERT_CHATS what Alertmanager or Grafana noticed",
        {JSON: BatchOut},
        status=202,
        body={JSON: _ref("NotificationIn")},
        problems=(400, 409, 413, 415, 422, *STORE),
    ),
    ("GET", SESSION): Operation("session", "Where the connection to WhatsApp is", {JSON: SessionOut}),
    ("GET", f"{SESSION}/qr.svg"): _picture("The code to scan, as SVG", "image/svg+xml"),
    ("GET", f"{SESSION}/qr.png"): _picture("The code to scan, as PNG", "image/png"),
    ("GET", f"{SESSION}/qr.txt"): _picture("The code to scan, for a dark terminal", "text/plain"),
    ("POST", f"{SESSION}/pair"): Operation(
        "session",
        "A code to type into the phone",
        {JSON: PairOut},
        body={JSON: _ref("PairIn")},
        problems=(400, 409, 413, 415, 422, 503),
    ),
    ("DELETE", f"{SESSION}/pair"): _connection("Offer no more codes until a restart", body=False),
    ("POST", f"{SESSION}/restart"): _connection("Make the connection anew"),
    ("POST", f"{SESSION}/clear"): _connection("Remove the session from this machine and pair anew"),
    ("POST", f"{SESSION}/logout"): _connection("Unlink this device at WhatsApp"),
    ("GET", BACKUPS): Operation(
        "backups", "The copies of the session, the latest first", {JSON: BackupsOut}, problems=(409, 503)
    ),
    ("POST", BACKUPS): Operation(
        "backups", "Keep the session as it is now", {JSON: ReportOut}, problems=(409, *STORE)
    ),
    ("POST", f"{BACKUPS}/{{sequence}}/verify"): Operation(
        "backups",
        "Check a backup as a restore would",
        {JSON: VerifiedOut},
        problems=(404, 409, 422, *STORE),
    ),
    ("POST", f"{BACKUPS}/rotate-key"): Operation(
        "backups",
        "Seal the newest backup with the first key",
        {JSON: RotatedOut},
        problems=(404, 409, *STORE),
    ),
    ("POST", f"{BACKUPS}/prune"): Operation(
        "backups",
        "Forget what the rule of retention does not keep",
        {JSON: PrunedOut},
        problems=(409, *STORE),
    ),
    ("GET", "/api/v1/events"): Operation(
        "live",
        "Everything the page shows, on every change, as server-sent events",
        {"text/event-stream": {"type": "string", "x-datum": _ref("EventOut")}},
        problems=(503,),
    ),
    ("GET", PATH): Operation("live", "This description", {JSON: {"type": "object"}}),
    ("GET", "/livez"): _probe("Whether the process should be left alive"),
    ("GET", "/readyz"): _probe("Whether messages can be accepted and kept"),
    ("GET", "/healthz"): _probe("Everything"),
    ("GET", "/metrics"): Operation("health", "For Prometheus", {"text/plain": None}),
}

_TO: Final = "+1 202 555 0101"
EXAMPLES: Final[tuple[Schema, ...]] = (
    {"to": _TO, "text": "Your parcel is here"},
    {"to": _TO, "type": "text", "text": "Yes", "reply_to": {"id": "3EB0C431C26A1916E07A", "sender": _TO}},
    {"to": _TO, "type": "image", "url": "https://example.org/parcel.jpg", "caption": "Look"},
    {"to": _TO, "type": "location", "latitude": 52.52, "longitude": 13.405, "name": "The parcel's shop"},
    {"to": _TO, "type": "contact", "name": "Ben", "phone": "+1 202 555 0102"},
    {"to": _TO, "type": "poll", "question": "When?", "options": ["Today", "Tomorrow"]},
    {"to": _TO, "type": "reaction", "message": {"id": "3EB0C431C26A1916E07A", "sender": _TO}, "emoji": "👍"},
)

_MODELS: Final[tuple[tuple[type[BaseModel], JsonSchemaMode], ...]] = (
    *((model, "validation") for model in (*KINDS.values(), BatchIn, NotificationIn, PairIn)),
    *(
        (model, "serialization")
        for model in (
            AcceptedOut,
            BackupsOut,
            BatchOut,
            EventOut,
            HealthOut,
            MessageOut,
            PageOut,
            PairOut,
            ProblemOut,
            PrunedOut,
            QueueOut,
            ReportOut,
            RequeuedOut,
            RotatedOut,
            SessionOut,
            VerifiedOut,
        )
    ),
)


_NAMES: Final = {
    "service__queue__model__State": "MessageState",
    "service__reconnect__status__State": "SessionState",
}


class OpenApi:
    """The handler. The document is made once, when the routes are known."""

    def __init__(self) -> None:
        self._text = ""

    def routes(self) -> list[web.RouteDef]:
        """Where it answers."""
        return [web.get(PATH, self.get)]

    async def get(self, _: web.Request) -> web.Response:
        """The document."""
        return web.json_response(text=self._text)

    def describe(self, served: Iterable[tuple[str, str]], *, token_needed: bool) -> None:
        """Make it, for these (method, path). Raises AssertionError when `OPERATIONS` are not the same."""
        wanted = set(served)
        if wanted != set(OPERATIONS):
            raise AssertionError(f"served or described, not both: {sorted(wanted ^ set(OPERATIONS))}")
        self._text = json_of(document(token_needed=token_needed))


def json_of(value: Schema) -> str:
    """As the service answers it, with short names where two enums have the same."""
    text = json.dumps(value, ensure_ascii=False)
    for long, short in _NAMES.items():
        text = text.replace(long, short)
    return text


def document(*, token_needed: bool) -> Schema:
    """The description of every operation."""
    _, models = models_json_schema(_MODELS, ref_template="#/components/schemas/{model}")
    kinds = [_ref(model.__name__) for model in KINDS.values()]
    schemas = models["$defs"] | {"NewMessage": {"oneOf": kinds, "examples": list(EXAMPLES)}}
    components: Schema = {"schemas": schemas}
    if token_needed:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    paths: dict[str, Schema] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method.lower()] = _described(method, path, operation, token_needed)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Beacon",
            "version": service.__version__,
            "description": "One WhatsApp account, kept connected, with a durable queue and nothing hidden.",
        },
        "paths": paths,
        "components": components,
    }


def _described(method: str, path: str, operation: Operation, token_needed: bool) -> Schema:
    described: Schema = {
        "operationId": _name(method, path),
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": _responses(operation),
    }
    parameters = list(operation.parameters)
    parameters += [parameter for parameter in _IN_PATHS if f"{{{parameter['name']}}}" in path]
    if parameters:
        described["parameters"] = parameters
    if operation.body:
        content = {kind: {"schema": schema} for kind, schema in operation.body.items()}
        if FORM in content:
            content[FORM]["encoding"] = {MESSAGE: {"contentType": JSON}}
        described["requestBody"] = {"required": True, "content": content}
    if token_needed and operation.tag != "health":
        described["security"] = [{"token": []}]
    return described


def _responses(operation: Operation) -> Schema:
    content = {
        media_type: {"schema": _ref(answer.__name__) if isinstance(answer, type) else answer or {}}
        for media_type, answer in operation.answers.items()
    }
    responses: Schema = {str(operation.status): _response(operation.status, content)}
    if HEALTH in operation.answers:
        responses["503"] = _response(503, content)
    problem = {PROBLEM: {"schema": _ref(ProblemOut.__name__)}}
    for status in sorted({*operation.problems, *ALWAYS}):
        headers = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
        responses[str(status)] = _response(status, problem) | ({"headers": headers} if status == 503 else {})
    return responses


def _response(status: int, content: Schema) -> Schema:
    return {"description": HTTPStatus(status).phrase, "content": content}


def _name(method: str, path: str) -> str:
    """`post_messages_id_retry`."""
    words = path.removeprefix("/api/v1").removeprefix("/api").replace("{", "").replace("}", "")
    return "_".join([method.lower(), *filter(None, re.split(r"[^a-z0-9]+", words))])

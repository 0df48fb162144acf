"""Errors as `application/problem+json` (RFC 9457), one shape for every route."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from service.errors import (
    BackupError,
    BackupKeyMissing,
    BackupMissing,
    BackupUnreadable,
    BeaconError,
    EngineError,
    EngineRefused,
    FenceTooOld,
    InputTooLarge,
    InvalidInput,
    NotFetched,
    SnapshotRefused,
    StoreFull,
    StoreUnavailable,
    VaultFull,
    VaultUnavailable,
)

log = structlog.get_logger(__name__)

CONTENT_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 5
"""What Retry-After says when the cause is passing: the order of an engine's restart."""

ERRORS_SHOWN: Final = 20

STREAMING: Final = web.RequestKey("streaming", bool)
"""Set in the request by a handler that has begun an answer without end."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field; `field` is a path such as `messages[3].to`."""

    field: str
    message: str


@dataclass
class Problem(Exception):
    """An answer that is not a success. `kind` names it for programs, `detail` for people."""

    status: int
    kind: str
    title: str
    detail: str
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> web.Response:
        """The problem document."""
        body: dict[str, Any] = {
            "type": f"urn:problem-type:beacon:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.more,
        }
        if self.errors:
            body["errors"] = [
                {"field": error.field, "message": error.message} for error in self.errors[:ERRORS_SHOWN]
            ]
        return web.Response(
            status=self.status,
            headers=dict(self.headers),
            body=json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace"),
            content_type=CONTENT_TYPE,
        )


def invalid(errors: Sequence[FieldError]) -> Problem:
    """422: the request was understood, and these fields are not allowed. At least one error."""
    first, more = errors[0], len(errors) - 1
    sentence = f"{first.field}: {first.message}"
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid-input",
        "The input is not allowed",
        sentence if not more else f"{sentence} (and {more} more)",
        errors=errors,
    )


def malformed(detail: str) -> Problem:
    """400: the body is not what its content type says."""
    return Problem(HTTPStatus.BAD_REQUEST, "malformed", "The body cannot be read", detail)


def too_large(detail: str, errors: Sequence[FieldError] = ()) -> Problem:
    """413: the body, or a text in it, is over its bound."""
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", "The input is too large", detail, errors=errors
    )


def from_inputs(faults: Sequence[InvalidInput]) -> Problem:
    """422; 413 when sizes are all that is wrong, 424 when files that cannot be fetched are."""
    errors = [FieldError(fault.field, fault.sentence) for fault in faults]
    first = f"{errors[0].field}: {errors[0].message}"
    if all(isinstance(fault, InputTooLarge) for fault in faults):
        return too_large(first, errors)
    if all(isinstance(fault, NotFetched) for fault in faults):
        return Problem(
            HTTPStatus.FAILED_DEPENDENCY, "not-fetched", "A file cannot be fetched", first, errors=errors
        )
    return invalid(errors)


def timed_out(detail: str) -> Problem:
    """408: the body came too slowly."""
    return Problem(HTTPStatus.REQUEST_TIMEOUT, "too-slow", "The body took too long", detail)


def wrong_type(detail: str) -> Problem:
    """415: the content type is not one that the route reads."""
    return Problem(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "wrong-content-type", "The content type is not supported", detail
    )


def not_found(detail: str) -> Problem:
    """404."""
    return Problem(HTTPStatus.NOT_FOUND, "not-found", "There is no such thing", detail)


def conflict(detail: str, *, state: str | None = None) -> Problem:
    """409: allowed in another state, not in this one; `state` for programs, where it is a message's."""
    more = {} if state is None else {"state": state}
    return Problem(HTTPStatus.CONFLICT, "wrong-state", "Not possible now", detail, more=more)


def unavailable(kind: str, detail: str) -> Problem:
    """503 with Retry-After: nothing was changed, and a later try may succeed."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        kind,
        "Try again later",
        detail,
        headers={hdrs.RETRY_AFTER: str(RETRY_AFTER_S)},
    )


class BackupTrouble(StrEnum):
    """What can be wrong with a backup, or with making one: the problem's name for programs."""

    MISSING = "no-backup"
    KEY_MISSING = "backup-key-missing"
    UNREADABLE = "backup-unreadable"
    NOT_OWNER = "not-owner"
    SESSION_UNFIT = "session-unfit"
    OFF = "backups-off"
    FULL = "vault-full"
    UNREACHABLE = "vault-unavailable"
    FAILED = "backup-failed"


def of_backup(trouble: BackupTrouble, detail: str) -> Problem:
    """404, 409, 503 or 507; its `reason` is the trouble."""
    status, title = _BACKUP_TROUBLES[trouble]
    passing = status == HTTPStatus.SERVICE_UNAVAILABLE
    headers: dict[str, str] = {hdrs.RETRY_AFTER: str(RETRY_AFTER_S)} if passing else {}
    return Problem(status, trouble, title, detail, headers=headers, more={"reason": trouble})


_BACKUP_TROUBLES: Final[Mapping[BackupTrouble, tuple[HTTPStatus, str]]] = {
    BackupTrouble.MISSING: (HTTPStatus.NOT_FOUND, "There is no such backup"),
    BackupTrouble.KEY_MISSING: (HTTPStatus.CONFLICT, "The backup's key is missing"),
    BackupTrouble.UNREADABLE: (HTTPStatus.CONFLICT, "The backup cannot be read"),
    BackupTrouble.NOT_OWNER: (HTTPStatus.CONFLICT, "Not the owner of the account now"),
    BackupTrouble.SESSION_UNFIT: (HTTPStatus.CONFLICT, "The session is not fit to be kept"),
    BackupTrouble.OFF: (HTTPStatus.CONFLICT, "Backups are off"),
    BackupTrouble.FULL: (HTTPStatus.INSUFFICIENT_STORAGE, "There is no room for another backup"),
    BackupTrouble.UNREACHABLE: (HTTPStatus.SERVICE_UNAVAILABLE, "The backups cannot be reached"),
    BackupTrouble.FAILED: (HTTPStatus.SERVICE_UNAVAILABLE, "The backup failed"),
}
_BACKUP_ERRORS: Final[tuple[tuple[type[BackupError], BackupTrouble], ...]] = (
    (BackupMissing, BackupTrouble.MISSING),
    (BackupKeyMissing, BackupTrouble.KEY_MISSING),
    (BackupUnreadable, BackupTrouble.UNREADABLE),
    (FenceTooOld, BackupTrouble.NOT_OWNER),
    (SnapshotRefused, BackupTrouble.SESSION_UNFIT),
    (VaultFull, BackupTrouble.FULL),
    (VaultUnavailable, BackupTrouble.UNREACHABLE),
    (BackupError, BackupTrouble.FAILED),
)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn everything that is raised into a problem document; what is not expected is logged as well."""
    try:
        return await handler(request)
    except Problem as error:
        return error.response()
    except BeaconError as error:
        if (problem := _from_beacon(error)) is None:
            return _unexpected(request).response()
        return problem.response()
    except web.HTTPException as error:
        return _from_aiohttp(error).response()
    except Exception:
        if request.get(STREAMING):
            raise  # it is too late for another answer; aiohttp logs it and closes the connection
        return _unexpected(request).response()


def _unexpected(request: web.Request) -> Problem:
    log.exception("http.unexpected_error", method=request.method)
    return Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal-error",
        "Something is wrong in Beacon",
        "The error is in the log of the service.",
    )


def _from_beacon(error: BeaconError) -> Problem | None:
    match error:
        case InvalidInput():
            return from_inputs([error, *error.others])
        case StoreUnavailable():
            return _from_store(error)
        case BackupError():
            return of_backup(next(it for kind, it in _BACKUP_ERRORS if isinstance(error, kind)), str(error))
        case EngineRefused():
            return conflict(f"WhatsApp's client refused: {error.text}")
        case EngineError():
            return unavailable("engine-unavailable", "WhatsApp's client is not running or did not answer.")
    return None


def _from_store(error: StoreUnavailable) -> Problem:
    log.warning("http.store_unavailable", error=type(error).__name__)
    if isinstance(error, StoreFull):
        return Problem(
            HTTPStatus.INSUFFICIENT_STORAGE,
            "disk-full",
            "The disk is full",
            "The message queue cannot grow; nothing of this request was kept. Free space for DATA_DIR.",
        )
    return unavailable(
        "store-unavailable", f"The message queue cannot be used ({error}); nothing of this request was kept."
    )


def _from_aiohttp(error: web.HTTPException) -> Problem:
    headers: dict[str, str] = {}
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        headers[hdrs.ALLOW] = allowed
        detail = f"{error.method} is not possible here; allowed: {allowed}."
        return Problem(error.status, "method-not-allowed", "Method not allowed", detail, headers=headers)
    if error.status == HTTPStatus.NOT_FOUND:
        return not_found("There is no such route.")
    return Problem(error.status, f"http-{error.status}", error.reason, error.reason)

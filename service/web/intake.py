"""From what a caller sent to messages that the queue takes: structure, times, files.

Contents and receivers are checked by the queue, once, when it takes them. Only where files have to be
fetched, or something else is wrong already, they are checked before: nothing is fetched for a message that
would not be accepted, and all faults are told together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError

from service.clock import rfc3339
from service.engine.content import File
from service.errors import InvalidInput
from service.queue.media import ANYTHING, allowed_media_types
from service.queue.model import NewMessage
from service.queue.outbox import check
from service.web import limits
from service.web.contents import AnyMessageIn, MediaIn, model_of
from service.web.problem import from_inputs
from service.web.schemas import field_errors, shown


@dataclass(frozen=True, slots=True)
class Draft:
    """A message whose structure is right. A file that is still to be fetched is stood in for.

    `path` is `messages[3]`, or empty for a single message.
    """

    path: str
    given: AnyMessageIn
    message: NewMessage

    def field(self, name: str) -> str:
        """The path of one of its fields."""
        return f"{self.path}.{name}" if self.path else name

    def with_file(self, file: File) -> "Draft":
        """The same with its file."""
        assert isinstance(self.given, MediaIn)
        return replace(self, message=replace(self.message, content=self.given.content_with(file)))


def drafts(bodies: Sequence[Any], *, now: float, path: str) -> list[Draft]:
    """All of them. `path` is such as `messages[{}]`. Raises Problem that names every fault."""
    good: dict[int, Draft] = {}
    faults: dict[int, Sequence[InvalidInput]] = {}
    for index, body in enumerate(bodies):
        try:
            good[index] = _draft(body, now=now, path=path.format(index))
        except InvalidInput as fault:
            faults[index] = [fault, *fault.others]
    if faults:
        faults |= {index: _faults(draft, now=now) for index, draft in good.items()}
        raise from_inputs([fault for index in sorted(faults) for fault in faults[index]])
    return list(good.values())


def check_all(given: Sequence[Draft], *, now: float) -> None:
    """Everything that can be checked without the files. Raises Problem."""
    if faults := [fault for draft in given for fault in _faults(draft, now=now)]:
        raise from_inputs(faults)


def told_all(fault: InvalidInput, given: Sequence[Draft]) -> list[InvalidInput]:
    """What the queue found, in the caller's words: the queue numbers messages, single ones too."""
    by_number = {f"messages[{index}]": draft for index, draft in enumerate(given)}
    return [_told(one, by_number[one.field.partition(".")[0]]) for one in (fault, *fault.others)]


def _faults(draft: Draft, *, now: float) -> list[InvalidInput]:
    try:
        check(draft.message, field="message", now=now)
    except InvalidInput as fault:
        return [_told(fault, draft)]
    return []


def _told(fault: InvalidInput, draft: Draft) -> InvalidInput:
    """The queue's sentences may be logged, so they do not quote the receiver; to the caller we do."""
    name = fault.field.partition(".")[2]
    sentence = f"{shown(draft.given.to)}: {fault.sentence}" if name == "to" else fault.sentence
    return type(fault)(draft.field(name), sentence)


def _draft(body: Any, *, now: float, path: str) -> Draft:
    if not isinstance(body, dict):
        raise InvalidInput(path, f"{shown(body)}: must be an object")
    try:
        model = model_of(body)
        try:
            given = model.model_validate(body)
        except ValidationError as error:
            raise _first(
                [InvalidInput(one.field, one.message) for one in field_errors(error, model)]
            ) from None
        return Draft(path, given, _message(given, now=now))
    except InvalidInput as fault:
        if not path:
            raise
        raise _first(
            [InvalidInput(f"{path}.{one.field}", one.sentence) for one in (fault, *fault.others)]
        ) from None


def _first(faults: Sequence[InvalidInput]) -> InvalidInput:
    """The first of them, with the others."""
    faults[0].others = faults[1:]
    return faults[0]


def _message(given: AnyMessageIn, *, now: float) -> NewMessage:
    """Raises InvalidInput for what only shows when fields are seen together, or against the clock."""
    content = given.content_with(_stand_in(given)) if isinstance(given, MediaIn) else given.content()
    return NewMessage(
        chat=given.to,
        content=content,
        priority=given.priority,
        not_before=_within_horizon("not_before", given.not_before, now=now),
        expires_at=_expiry(given, now=now),
        max_attempts=given.max_attempts,
        on_unknown=given.on_unknown,
        idempotency_key=given.idempotency_key,
    )


_NO_SHA256: Final = "0" * 64


def _stand_in(given: MediaIn) -> File:
    """As if the file were as it should be."""
    allowed = allowed_media_types(given.kind, voice=given.is_voice)
    media_type = ANYTHING if allowed is None else allowed[0]
    return File(sha256=_NO_SHA256, media_type=media_type, size_bytes=1, name=given.file_name)


def _expiry(given: AnyMessageIn, *, now: float) -> float | None:
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

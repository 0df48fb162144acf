"""Reads a message and its file from one multipart/form-data body (RFC 7578), within bounds, in any order."""

import asyncio
import warnings
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import BadContentDispositionHeader, BadContentDispositionParam, BodyPartReader, web
from aiohttp.http_exceptions import BadHttpMessage

from service.errors import InputTooLarge
from service.web import limits, problem
from service.web.body import parse_object
from service.web.fetch import Fetched
from service.web.problem import FieldError

FORM: Final = "multipart/form-data"
MESSAGE: Final = "message"
FILE: Final = "file"
CHUNK_BYTES: Final = 64 * 1024

for _noise in (BadContentDispositionHeader, BadContentDispositionParam):  # they quote file names to stderr
    warnings.simplefilter("ignore", _noise)


@dataclass(frozen=True, slots=True)
class Upload:
    """A message, and the file that came with it."""

    message: dict[str, Any]
    file: Fetched


async def read_upload(request: web.Request, *, limit_bytes: int) -> Upload:
    """The parts `message` and `file`, each once. Raises Problem (400, 408, 413, 415, 422), InputTooLarge."""
    length = request.content_length
    if length is not None and length > limit_bytes + limits.BODY_BYTES:
        raise _too_large(limit_bytes)
    try:
        async with asyncio.timeout(limits.UPLOAD_TIMEOUT_S):
            return await _read_parts(request, limit_bytes)
    except TimeoutError:
        raise problem.timed_out(f"The body did not come within {limits.UPLOAD_TIMEOUT_S:g} s.") from None
    except web.RequestPayloadError as error:
        raise problem.malformed("The body ends early, or is not what Content-Encoding says.") from error
    except (ValueError, RuntimeError, AssertionError, BadHttpMessage, Warning) as error:
        raise problem.malformed(
            "The body is not multipart/form-data: a boundary or a header is wrong."
        ) from error


async def _read_parts(request: web.Request, limit_bytes: int) -> Upload:
    message: dict[str, Any] | None = None
    file: Fetched | None = None
    reader = await request.multipart()
    while (part := await reader.next()) is not None:
        if not isinstance(part, BodyPartReader) or part.name not in {MESSAGE, FILE}:
            raise problem.invalid([FieldError("form", f"its parts must be named {MESSAGE} and {FILE}")])
        if "Content-Transfer-Encoding" in part.headers or "Content-Encoding" in part.headers:
            raise problem.wrong_type(f"The part {part.name} must come as it is, without an encoding.")
        if (message if part.name == MESSAGE else file) is not None:
            raise problem.invalid([FieldError(part.name, "must be there once")])
        if part.name == MESSAGE:
            message = parse_object(await _read_message(part), what=f"The part {MESSAGE}")
        else:
            data = await _read(part, limit_bytes)
            if data is None:
                raise _too_large(limit_bytes)
            file = Fetched(data, part.headers.get("Content-Type"), part.filename)
    if message is None:
        raise problem.invalid([FieldError(MESSAGE, "is missing; must be the message as a JSON object")])
    if file is None:
        raise problem.invalid([FieldError(FILE, "is missing; must be the file's bytes")])
    return Upload(message, file)


async def _read_message(part: BodyPartReader) -> bytes:
    data = await _read(part, limits.BODY_BYTES)
    if data is None:
        raise problem.too_large(f"The part {MESSAGE} must not be over {limits.BODY_BYTES} bytes.")
    return data


async def _read(part: BodyPartReader, limit_bytes: int) -> bytes | None:
    """The part's bytes; None when they are over the limit."""
    data = bytearray()
    while chunk := await part.read_chunk(CHUNK_BYTES):
        data += chunk
        if len(data) > limit_bytes:
            return None
    return bytes(data)


def _too_large(limit_bytes: int) -> InputTooLarge:
    return InputTooLarge(FILE, f"must not be over {limit_bytes} bytes, the limit that MEDIA_MAX_MB sets")

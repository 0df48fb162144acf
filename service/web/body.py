"""Reads a JSON body strictly: UTF-8, one object, no key twice, no NaN."""

import json
from typing import Any, NoReturn

from aiohttp import web

from service.web import problem


async def read_object(request: web.Request, *, limit_bytes: int) -> dict[str, Any]:
    """The body as a JSON object. Raises Problem (400, 413, 415)."""
    require_json(request)
    return parse_object(await _read(request, limit_bytes), what="The body")


def parse_object(raw: bytes, *, what: str) -> dict[str, Any]:
    """A JSON object. Raises Problem (400) that calls it `what`."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise problem.malformed(f"{what} must be UTF-8; byte {error.start} is not.") from error
    try:
        value = json.loads(text, object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise problem.malformed(
            f"{what} must be JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except RecursionError as error:
        raise problem.malformed(f"{what} must be JSON that is not nested this deep.") from error
    except ValueError as error:  # also an integer of more digits than Python converts
        raise problem.malformed(f"{what} must be JSON: {error}.") from error
    if not isinstance(value, dict):
        raise problem.malformed(f"{what} must be a JSON object, not {_NAMES.get(type(value), 'null')}.")
    return value


def require_json(request: web.Request) -> None:
    """Refuse every other content type: a foreign page's form cannot send this one. Raises Problem (415)."""
    if request.content_type != "application/json" or "Content-Type" not in request.headers:
        raise problem.wrong_type("Content-Type must be application/json.")
    charset = request.charset
    if charset is not None and charset.lower().replace("_", "-") not in {"utf-8", "utf8"}:
        raise problem.wrong_type("Content-Type must be application/json in UTF-8; leave charset out.")


async def _read(request: web.Request, limit_bytes: int) -> bytes:
    sentence = f"The request's body must not be over {limit_bytes} bytes."
    if request.content_length is not None and request.content_length > limit_bytes:
        raise problem.too_large(sentence)
    try:
        raw = await request.read()  # itself bounded by the application's client_max_size
    except web.HTTPRequestEntityTooLarge as error:
        raise problem.too_large(sentence) from error
    except web.RequestPayloadError as error:
        raise problem.malformed("The body ends early, or is not what Content-Encoding says.") from error
    if len(raw) > limit_bytes:
        raise problem.too_large(sentence)
    return raw


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {json.dumps(key)[:60]} appears twice in one object")
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


_NAMES = {list: "an array", str: "a string", int: "a number", float: "a number", bool: "a boolean"}

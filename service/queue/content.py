"""What a message may say."""

from typing import Final

from service.engine.content import AnyContent, Text
from service.errors import InvalidInput

MAX_TEXT_BYTES: Final = 65_536


def parse_content(content: AnyContent, *, field: str) -> None:
    """Raises InvalidInput, with a field under `field`, for what cannot be sent."""
    match content:
        case Text():
            parse_text(content.text, field=f"{field}.text")


def parse_text(value: str, *, field: str) -> str:
    """The text, if it can be sent: 1 to 65,536 bytes of UTF-8, not blank, no NUL, no lone surrogate.

    Raises InvalidInput; its sentence never quotes the text.
    """
    if not value.strip():
        raise InvalidInput(field, "must have at least one character that is not space")
    if "\0" in value:
        raise InvalidInput(field, "must not hold the character NUL")
    try:
        size_bytes = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidInput(field, "holds half of a surrogate pair, which is no text") from None
    if size_bytes > MAX_TEXT_BYTES:
        raise InvalidInput(field, f"is {size_bytes} bytes of UTF-8, at most {MAX_TEXT_BYTES} are allowed")
    return value

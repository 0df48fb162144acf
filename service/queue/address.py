"""Whom a message is for: a phone number or a JID, as people write it, to the JID that the queue keeps.

Sentences name what is wrong and never quote the whole value, because they end up in logs.
"""

import re
from functools import lru_cache
from typing import Final

import phonenumbers
from phonenumbers import ValidationResult

from service.errors import InvalidInput

USER_SERVER: Final = "s.whatsapp.net"
LID_SERVER: Final = "lid"
GROUP_SERVER: Final = "g.us"

_SEPARATORS: Final = re.compile(r"[\s().\-/]+")
_GROUP: Final = re.compile(r"[0-9]{5,20}(-[0-9]{5,20})?")
_LID: Final = re.compile(r"[0-9]{5,20}")
_SERVERS: Final = f"{USER_SERVER}, {LID_SERVER} or {GROUP_SERVER}"
_MAX_CHARS: Final = 64
_E164_DIGITS: Final = 15


def parse_chat(value: str, *, field: str) -> str:
    """The JID, without device, that a phone number (with country code) or a JID stands for.

    Raises InvalidInput.
    """
    text = value.strip()
    if not text:
        raise InvalidInput(field, "must be a phone number with country code, or a JID; it is empty")
    if len(text) > _MAX_CHARS:
        raise InvalidInput(field, f"has {len(text)} characters: at most {_MAX_CHARS} are allowed")
    if "@" in text:
        user, server = text.split("@", 1)
        return _parse_jid(user, server, field=field)
    return f"{_parse_phone(text, field=field)}@{USER_SERVER}"


def parse_person(value: str, *, field: str) -> str:
    """The JID, without device, of a person: as `parse_chat`, but no group. Raises InvalidInput."""
    jid = parse_chat(value, field=field)
    if is_group(jid):
        raise InvalidInput(field, "must be a person's phone number or JID, not a group's")
    return jid


def parse_phone(value: str, *, field: str) -> str:
    """The digits, with country code, of a phone number. Raises InvalidInput."""
    text = value.strip()
    if "@" in text or len(text) > _MAX_CHARS:
        raise InvalidInput(field, "must be a phone number with country code")
    return _parse_phone(text, field=field)


def is_group(chat: str) -> bool:
    """Whether the JID is a group's."""
    return chat.endswith(f"@{GROUP_SERVER}")


def _parse_jid(user: str, server: str, *, field: str) -> str:
    if server not in {USER_SERVER, LID_SERVER, GROUP_SERVER}:
        raise InvalidInput(field, f"a JID ends with @{_SERVERS}")
    if ":" in user:
        raise InvalidInput(field, "a JID names a chat, not a device of it: leave out what follows the colon")
    if server == USER_SERVER:
        if not (user.isascii() and user.isdigit()):
            raise InvalidInput(field, f"what stands before @{USER_SERVER} must be digits")
        return f"{_parse_phone(user, field=field)}@{USER_SERVER}"
    form = _GROUP if server == GROUP_SERVER else _LID
    if not form.fullmatch(user):
        raise InvalidInput(field, f"what stands before @{server} must be a number of 5 to 20 digits")
    return f"{user}@{server}"


def _parse_phone(text: str, *, field: str) -> str:
    digits = _SEPARATORS.sub("", text).removeprefix("+")
    if not digits:
        raise InvalidInput(field, "must be a phone number with country code")
    if not (digits.isascii() and digits.isdigit()):
        raise InvalidInput(field, "a phone number has digits, spaces, ( ) . - / and a leading + only")
    if len(digits) > _E164_DIGITS:
        raise InvalidInput(field, f"these {len(digits)} digits are too many: at most {_E164_DIGITS}")
    if digits.startswith("0"):
        raise InvalidInput(field, "a phone number begins with its country code, not with 0")
    verdict = _verdict(digits)
    if verdict not in {ValidationResult.IS_POSSIBLE, ValidationResult.IS_POSSIBLE_LOCAL_ONLY}:
        raise InvalidInput(field, f"these {len(digits)} digits {_PROBLEMS[verdict]}")
    return digits


@lru_cache(maxsize=4096)  # a batch to the same people would spend half of its time here
def _verdict(digits: str) -> int:
    try:
        return phonenumbers.is_possible_number_with_reason(phonenumbers.parse(f"+{digits}"))
    except phonenumbers.NumberParseException:
        return ValidationResult.INVALID_COUNTRY_CODE


_PROBLEMS: Final = {
    ValidationResult.TOO_SHORT: "are too few for a number of that country",
    ValidationResult.TOO_LONG: "are too many for a number of that country",
    ValidationResult.INVALID_LENGTH: "are not as many as numbers of that country have",
    ValidationResult.INVALID_COUNTRY_CODE: "do not begin with a country code that exists",
}

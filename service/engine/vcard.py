"""Somebody's card, as WhatsApp shows it (vCard 3.0, RFC 2426)."""

from typing import Final

_ESCAPED: Final = str.maketrans({"\\": "\\\\", ";": "\\;", ",": "\\,", "\n": "\\n", "\r": None})


def vcard(name: str, phone: str) -> str:
    """The card of a name and a number (digits with country code). `waid` lets it be opened as a chat."""
    name = name.translate(_ESCAPED)
    return "\n".join(
        (
            "BEGIN:VCARD",
            "VERSION:3.0",
            f"N:;{name};;;",
            f"FN:{name}",
            f"TEL;type=CELL;type=VOICE;waid={phone}:+{phone}",
            "END:VCARD",
        )
    )

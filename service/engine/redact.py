"""Takes what names a person out of words that neonize and whatsmeow wrote.

whatsmeow's warnings quote JIDs and whole stanzas (with push names, and text where a stanza carries some);
Go's dial errors quote the proxy, and its HTTP errors a whole URL with what authorises an upload; those of
PostgreSQL's driver name the user, and its settings the password. Codes and short numbers stay: they are what
the words are read for.
"""

import re
from typing import Final

_NUMBER: Final = re.compile(r"\d{7,}")
_PASSWORD: Final = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_SECRET_FIELD: Final = re.compile(r"\b(password|user)\s*=\s*('(?:[^'\\]|\\.)*'|[^\s'#]\S*)")
_DATABASE_USER: Final = re.compile(r"(?<= user )\"[^\"]*\"")
_QUERY: Final = re.compile(r"(?<=://)([^\s\"?]+)\?[^\s\"]*")
_STANZA: Final = re.compile(
    r"<([a-zA-Z][\w:-]*)((?:\s+[\w:.-]+=\"[^\"]*\")*)(?:(?<=\")\s*/?>|>(?=.*</)).*$", re.DOTALL
)
_ATTRIBUTE: Final = re.compile(r"([\w:.-]+)=\"([^\"]*)\"")
_PLAIN_ATTRIBUTES: Final = frozenset({"class", "code", "error", "reason", "type", "xmlns"})


def redact(text: str) -> str:
    """The text with `#` for every run of 7 or more digits and for user part and query of URLs, and of a
    stanza only its first tag with attributes that cannot name anybody; what follows a stanza is dropped."""
    text = _QUERY.sub(r"\1?#", _STANZA.sub(_tag_only, text))
    text = _DATABASE_USER.sub("#", _SECRET_FIELD.sub(r"\1=#", text))
    return _NUMBER.sub("#", _PASSWORD.sub("#", text))


def _tag_only(stanza: re.Match[str]) -> str:
    kept = [
        f' {name}="{value}"' for name, value in _ATTRIBUTE.findall(stanza[2]) if name in _PLAIN_ATTRIBUTES
    ]
    return f"<{stanza[1]}{''.join(kept)} …>"

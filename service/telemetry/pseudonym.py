"""Names for chats that may be seen: a keyed hash, the same one for the life of an installation."""

import hmac
from functools import lru_cache
from typing import Final

_NAMED_LATELY: Final = 4096


class Pseudonyms:
    """Turns a JID into 12 hex digits that nobody without the key can turn back."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._named = lru_cache(_NAMED_LATELY)(self._name)

    def chat(self, jid: str) -> str:
        """The chat's name."""
        return self._named(jid)

    def _name(self, jid: str) -> str:
        return hmac.digest(self._key, jid.encode(), "sha256").hex()[:12]

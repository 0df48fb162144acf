"""The URL of a PostgreSQL as whatsmeow's driver must be told it (Go's lib/pq), for one schema.

lib/pq is not asyncpg: without a word about TLS it demands it, it knows no `prefer`, it hands what it does not
know to the server, which then refuses, and it waits for ever for a host that does not answer. Go quotes a URL
that it cannot parse in its error, so what comes from here is always one that it can.
"""

import os
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from service.postgres import on_this_machine

CONNECT_TIMEOUT_S: Final = 10
_KNOWN_MODES: Final = frozenset({"disable", "require", "verify-ca", "verify-full"})
_CLIENT_ONLY: Final = frozenset(
    {
        "gsslib",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcrl",
        "sslmode",
        "sslnegotiation",
        "sslpassword",
        "target_session_attrs",
    }
)
"""What asyncpg takes for itself and lib/pq would send to the server; `sslmode` is written anew."""


def engine_dsn(url: str, *, schema: str) -> str:
    """The DSN; a secret, as the URL is. It begins with `postgres`, by which neonize knows it (getDB)."""
    parts = urlsplit(url)
    asked = parse_qsl(parts.query)
    kept = {name: value for name, value in asked if name not in _CLIENT_ONLY}
    kept |= {
        "application_name": "beacon engine",
        "connect_timeout": str(CONNECT_TIMEOUT_S),
        "search_path": f'"{schema}"',
        "sslmode": _sslmode(url, dict(asked).get("sslmode") or os.environ.get("PGSSLMODE")),
    }
    user, at, hosts = parts.netloc.rpartition("@")
    owner = ":".join(_escaped(part) for part in user.split(":", 1)) + at
    return f"postgres://{owner}{hosts}{quote(unquote(parts.path))}?{urlencode(kept, quote_via=quote)}"


def _sslmode(url: str, asked: str | None) -> str:
    """What was asked for where lib/pq knows it; else encrypted, but for a server on this machine."""
    if asked in _KNOWN_MODES:
        return asked
    return "disable" if on_this_machine(url) else "require"


def _escaped(text: str) -> str:
    return quote(unquote(text), safe="")

"""PostgreSQL as the lease and the queue both meet it: TLS as hosts demand it, and errors without secrets.

Errors are told by class and SQLSTATE: their texts can hold host, user or a piece of the URL.
"""

import os
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import parse_qs, urlsplit

import asyncpg

TROUBLE: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises when the database cannot be used or does not want to."""

_LATER: Final = ("08", "57", "53300", "40")
"""SQLSTATEs that end by themselves: connection trouble, shutdown and start-up, full, serialization."""


def tls_mode(url: str) -> Literal["require"] | None:
    """What asyncpg is told about TLS: `require` for another machine that the URL says nothing about.

    Heroku demands TLS and leaves `sslmode` out of the URL. None leaves it to the URL or PGSSLMODE.
    """
    if "sslmode" in parse_qs(urlsplit(url).query) or "PGSSLMODE" in os.environ or on_this_machine(url):
        return None
    return "require"


def on_this_machine(url: str) -> bool:
    """Whether the database that the URL names is reached without a network."""
    parts = urlsplit(url)
    return all(_local(host) for host in parse_qs(parts.query).get("host", [parts.hostname or ""]))


def passing(error: Exception) -> bool:
    """Trouble that ends by itself; what the server or the URL forbids does not."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_LATER)
    return not isinstance(error, ValueError) and not _no_tls(error)


def described(error: Exception) -> str:
    """What went wrong, in words that hold nothing of the URL or of a row."""
    if isinstance(error, asyncpg.PostgresError):
        return f"{type(error).__name__} {error.sqlstate}"
    if _no_tls(error):
        return "the server speaks no TLS and sslmode asks for it"
    return type(error).__name__


def _no_tls(error: Exception) -> bool:
    return isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error)


def _local(host: str) -> bool:
    if host in {"", "localhost"} or host.startswith("/"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

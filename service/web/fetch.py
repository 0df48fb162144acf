"""Fetches a file that a caller names by its URL, and nothing that the caller could not ask for itself.

Whoever may hand in a message must not see this machine's network through it (server-side request forgery,
OWASP). So the address is checked when the socket to it is opened: after the name was resolved, for every
redirect anew, and there is no second look-up that could answer otherwise (DNS rebinding). A proxy from the
environment is not used, because it would connect to what was never checked.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias

import aiohttp
from aiohttp.connector import AddrInfoType
from yarl import URL

import service
from service.errors import InputTooLarge, InvalidInput, NotFetched

Address: TypeAlias = IPv4Address | IPv6Address

MAX_URL_CHARS: Final = 2_048
MAX_REDIRECTS: Final = 5
TIMEOUT_S: Final = 30.0
"""For everything: names, redirects, and the last byte."""

CHUNK_BYTES: Final = 64 * 1024

_NO_URL: Final = "must be a URL such as https://example.org/picture.jpg"

_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits
_NAT64_LOCAL: Final = IPv6Network("64:ff9b:1::/48")  # RFC 8215
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file's bytes, its media type without parameters as its server says it, None when it does not, and the
    last part of its address."""

    data: bytes
    media_type: str | None
    name: str | None


class Fetcher:
    """Fetches over HTTP and HTTPS. `may_connect` decides about every address before it is connected to."""

    def __init__(
        self, *, limit_bytes: int, may_connect: Callable[[Address], bool], timeout_s: float = TIMEOUT_S
    ) -> None:
        self._limit_bytes = limit_bytes
        self._may_connect = may_connect
        self._timeout_s = timeout_s

    async def fetch(self, url: str, *, field: str) -> Fetched:
        """The file at that URL. Raises InvalidInput for a URL that is not fetched from, InputTooLarge, and
        NotFetched when its server does not give it; `field` names where the URL stands."""
        checked = parse_url(url, field=field)
        guard = _Guard(self._may_connect)
        try:
            async with asyncio.timeout(self._timeout_s), _session(guard) as session:
                return await self._follow(session, checked, field)
        except TimeoutError:
            raise NotFetched(field, f"did not come within {self._timeout_s:g} s") from None
        except aiohttp.InvalidURL:
            raise InvalidInput(field, _NO_URL) from None
        except (aiohttp.ClientError, OSError) as error:
            if guard.refused:
                raise InvalidInput(
                    field, "must not lead into a private network; MEDIA_PRIVATE_URLS=on would allow it"
                ) from None
            raise NotFetched(field, f"cannot be fetched: {_reason(error)}") from error

    async def _follow(self, session: aiohttp.ClientSession, url: URL, field: str) -> Fetched:
        for _ in range(MAX_REDIRECTS + 1):
            async with session.get(url, allow_redirects=False) as response:
                target = response.headers.get("Location")
                if response.status not in _REDIRECTS or target is None:
                    return await self._read(response, field)
            try:
                url = parse_url(str(url.join(URL(target))), field=field)
            except (InvalidInput, ValueError):
                raise NotFetched(field, "is redirected to what is no address for http or https") from None
        raise NotFetched(field, f"is redirected more than {MAX_REDIRECTS} times")

    async def _read(self, response: aiohttp.ClientResponse, field: str) -> Fetched:
        if response.status != HTTPStatus.OK:
            raise NotFetched(field, f"cannot be fetched: its server answers {response.status}")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise NotFetched(field, "comes packed, which was not asked for")
        sentence = f"is over {self._limit_bytes} bytes, the limit that MEDIA_MAX_MB sets"
        if response.content_length is not None and response.content_length > self._limit_bytes:
            raise InputTooLarge(field, sentence)
        data = bytearray()
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            data += chunk
            if len(data) > self._limit_bytes:
                raise InputTooLarge(field, sentence)
        stated = "Content-Type" in response.headers
        return Fetched(bytes(data), response.content_type if stated else None, response.url.name or None)


class _Guard:
    """Opens sockets to addresses that are allowed; remembers that one was not."""

    def __init__(self, may_connect: Callable[[Address], bool]) -> None:
        self._may_connect = may_connect
        self.refused = False

    def open(self, info: AddrInfoType) -> socket.socket:
        """A socket for that address. Raises PermissionError."""
        family, kind, protocol, _, address = info
        if not self._may_connect(ip_address(str(address[0]).partition("%")[0])):
            self.refused = True
            raise PermissionError(errno.EACCES, "the address is not public")
        return socket.socket(family=family, type=kind, proto=protocol)


def is_public(address: Address) -> bool:
    """Whether an address belongs to the internet at large, also when IPv6 only wraps it."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
        if address in _NAT64_LOCAL or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast


def parse_url(text: str, *, field: str) -> URL:
    """The URL, if it is one to fetch from: http or https, a host, no password. Raises InvalidInput."""
    if len(text) > MAX_URL_CHARS:
        raise InvalidInput(field, f"has {len(text)} characters: at most {MAX_URL_CHARS} are allowed")
    try:
        url = URL(text)
        host, port = url.host, url.port
    except ValueError:
        raise InvalidInput(field, _NO_URL) from None
    if url.scheme not in {"http", "https"} or not host or port == 0:
        raise InvalidInput(field, "must begin with http:// or https:// and name a host")
    if url.user is not None or url.password is not None:
        raise InvalidInput(field, "must not hold a user or a password")
    return url


def _session(guard: _Guard) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(socket_factory=guard.open, use_dns_cache=False, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"Beacon/{service.__version__}", "Accept-Encoding": "identity"},
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None),
    )


def _reason(error: BaseException) -> str:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "no host has this name"
        case aiohttp.ClientConnectorCertificateError():
            return "its certificate is not valid"
        case aiohttp.ClientConnectorSSLError():
            return "its server does not speak TLS as we do"
        case aiohttp.ClientConnectorError():
            return f"no connection ({os.strerror(error.errno) if error.errno else 'not reachable'})"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return "its server ended the connection early"
    return "its server does not speak HTTP"

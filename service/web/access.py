"""Who may ask: a bearer token, the page's cookie, or, without API_TOKEN, only this machine.

Without a token the service listens on loopback; there a web page of another site could still reach it
through the user's own browser. Two things stop that: only loopback names are answered (DNS rebinding),
and a change must come from our own page or from no page at all (Fetch Metadata, Origin).
"""

import hashlib
import hmac
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from pydantic import SecretStr

from service.clock import Clock
from service.config import Settings
from service.web.metrics import AuthFailure, WebMetrics
from service.web.observe import route_of
from service.web.problem import Problem

ALERTS: Final = "/api/v1/alerts"
METRICS: Final = "/metrics"
PROBES: Final = frozenset({"/livez", "/readyz", "/healthz"})
WITHOUT_TOKEN: Final = PROBES | {"/", "/sign-in", "/sign-out", "/assets/{name}", "/favicon.ico"}
"""Routes that hold no data for a stranger: to those `/` shows the sign-in form and nothing else."""

COOKIE: Final = "beacon_session"
COOKIE_LIFE_S: Final = 7 * 86_400
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Access:
    """Decides about every request. Holds the tokens and gives them to nobody."""

    def __init__(self, *, settings: Settings, metrics: WebMetrics, clock: Clock) -> None:
        self._api_token = _bytes(settings.api_token)
        self._metrics_token = _bytes(settings.metrics_token)
        self._alerts_token = _bytes(settings.alerts_token)
        self._metrics = metrics
        self._clock = clock

    @property
    def token_needed(self) -> bool:
        """Whether API_TOKEN is set."""
        return self._api_token is not None

    def middleware(self) -> Middleware:
        """Lets a request through to its handler or raises Problem (401, 403, 421)."""

        @web.middleware
        async def access(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.check(request)
            return await handler(request)

        return access

    def check(self, request: web.Request) -> None:
        """Raises Problem when the request may not go on."""
        if not self.token_needed:
            self._require_loopback_name(request)
        self._require_same_site(request)
        if (given := _bearer(request)) is not None:
            if not self._opens(given, route_of(request)):
                self._refuse(AuthFailure.WRONG_TOKEN, "The bearer token is not the right one.")
            return
        if self.token_needed and route_of(request) not in WITHOUT_TOKEN:
            self._require_cookie(request)

    def signed_in(self, request: web.Request) -> bool:
        """Whether the request may see the page: it has a valid cookie or token, or none is needed."""
        if not self.token_needed or _bearer(request) is not None:  # a wrong one has been refused before
            return True
        return self._cookie_holds(request.cookies.get(COOKIE, ""))

    def is_token(self, given: str) -> bool:
        """Whether this is API_TOKEN; takes as long for a wrong one. Counts a wrong one."""
        if self._api_token is not None and _same(given, self._api_token):
            return True
        self._metrics.refused(AuthFailure.WRONG_TOKEN)
        return False

    def cookie(self) -> str:
        """A value for the cookie: when it ends, and a proof that who made it knew the token."""
        assert self._api_token is not None
        ends = str(int(self._clock.now()) + COOKIE_LIFE_S)
        return f"{ends}.{_proof(self._api_token, ends)}"

    def _opens(self, given: str, route: str) -> bool:
        if self._api_token is None or _same(given, self._api_token):
            return True
        if route == ALERTS:
            return self._alerts_token is not None and _same(given, self._alerts_token)
        right_place = route == METRICS or route in PROBES
        return self._metrics_token is not None and _same(given, self._metrics_token) and right_place

    def _cookie_holds(self, value: str) -> bool:
        ends, _, proof = value.partition(".")
        if self._api_token is None or not (ends.isascii() and ends.isdigit() and len(ends) < 16):
            return False
        return hmac.compare_digest(
            proof.encode(errors="surrogateescape"), _proof(self._api_token, ends).encode()
        ) and self._clock.now() < int(ends)

    def _require_cookie(self, request: web.Request) -> None:
        if COOKIE not in request.cookies:
            self._refuse(
                AuthFailure.MISSING,
                "A token is needed: Authorization: Bearer API_TOKEN, or a sign-in at /.",
            )
        if not self._cookie_holds(request.cookies[COOKIE]):
            self._refuse(AuthFailure.STALE_COOKIE, "The sign-in has ended: sign in again at /.")

    def _refuse(self, reason: AuthFailure, detail: str) -> None:
        self._metrics.refused(reason)
        wrong = ', error="invalid_token"' if reason is AuthFailure.WRONG_TOKEN else ""
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "unauthorized",
            "Not signed in",
            detail,
            headers={hdrs.WWW_AUTHENTICATE: f'Bearer realm="beacon"{wrong}'},
        )

    def _require_loopback_name(self, request: web.Request) -> None:
        if not is_loopback_name(request.headers.get(hdrs.HOST, "")):
            self._metrics.refused(AuthFailure.FOREIGN_HOST)
            raise Problem(
                HTTPStatus.MISDIRECTED_REQUEST,
                "foreign-host",
                "Not the name of this machine",
                "Without API_TOKEN only requests to localhost, 127.0.0.1 or [::1] are answered.",
            )

    def _require_same_site(self, request: web.Request) -> None:
        if request.method not in SAFE_METHODS and is_cross_site(request):
            self._metrics.refused(AuthFailure.CROSS_SITE)
            raise Problem(
                HTTPStatus.FORBIDDEN,
                "cross-site",
                "Not from here",
                "A page of another site may not change anything here.",
            )


def is_loopback_name(host: str) -> bool:
    """Whether a Host header names this machine's loopback interface."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def is_cross_site(request: web.Request) -> bool:
    """Whether a browser says that another site's page made this request.

    Sec-Fetch-Site where the browser sends it (it does not over plain HTTP to a name other than
    localhost), else Origin; programs send neither.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = request.headers.get(hdrs.ORIGIN)
    return origin is not None and urlsplit(origin).netloc != request.headers.get(hdrs.HOST)


def _bearer(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _same(given: str, token: bytes) -> bool:
    """Compared as digests, so that not even the length shows in the time."""
    digest = hashlib.sha256(given.encode(errors="surrogateescape")).digest()
    return hmac.compare_digest(digest, hashlib.sha256(token).digest())


def _proof(token: bytes, ends: str) -> str:
    return hmac.new(token, f"beacon page cookie, ends {ends}".encode(), hashlib.sha256).hexdigest()


def _bytes(secret: SecretStr | None) -> bytes | None:
    return None if secret is None else secret.get_secret_value().encode()

"""Headers that every answer carries (OWASP Secure Headers; Fetch; CSP level 3)."""

from typing import Final

from aiohttp import hdrs, web

from service.web.observe import route_of

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

_ALWAYS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

PAGES: Final = frozenset({"/", "/sign-in", "/sign-out"})
"""A form on a page that sends no referrer posts `Origin: null`, as a foreign sandboxed one would."""


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """The signal for `on_response_prepare`; what a handler has set itself stays."""
    response.headers[hdrs.SERVER] = "Beacon"  # aiohttp would name the version of everything
    for name, value in _ALWAYS.items():
        response.headers.setdefault(name, value)
    policy = "same-origin" if route_of(request) in PAGES else "no-referrer"
    response.headers.setdefault("Referrer-Policy", policy)
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")

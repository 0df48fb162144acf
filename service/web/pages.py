"""The page at `/`, its files, and signing in and out. Everything is read once, at start."""

import hashlib
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from aiohttp import hdrs, web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

import service
from service.queue.model import State as MessageState
from service.web import limits, problem
from service.web.access import COOKIE, COOKIE_LIFE_S, Access

FOLDER: Final = Path(__file__).parent / "page"
ASSETS: Final = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "favicon.svg": "image/svg+xml",
}
FOREVER: Final = "public, max-age=31536000, immutable"
"""The pages name each file with a hash of all of them, so a new version is a new address."""

TILES: Final[tuple[tuple[MessageState, str, str], ...]] = (
    (MessageState.QUEUED, "Queued", "kept, waiting to go out"),
    (MessageState.SENDING, "Sending", "handed to WhatsApp now"),
    (MessageState.UNKNOWN, "Unknown", "may have left; receipts will tell"),
    (MessageState.SENT, "Sent", "one tick: the server has it"),
    (MessageState.DELIVERED, "Delivered", "two ticks: the phone has it"),
    (MessageState.READ, "Read", "blue ticks"),
    (MessageState.HELD, "Held", "waits for somebody to decide"),
    (MessageState.DEAD, "Dead", "given up; see its last error"),
    (MessageState.EXPIRED, "Expired", "not sent in time"),
    (MessageState.CANCELLED, "Cancelled", "taken back before it left"),
)
"""The queue as the page shows it: state, label, explanation."""


class Pages:
    """The handlers."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._files = {name: (FOLDER / name).read_bytes() for name in ASSETS}
        self._templates = Environment(
            loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self._hash = hashlib.sha256(b"".join(self._files.values())).hexdigest()[:12]

    def routes(self) -> list[web.RouteDef]:
        """Where they answer."""
        return [
            web.get("/", self.page),
            web.get("/assets/{name}", self.asset),
            web.get("/favicon.ico", self.favicon),
            web.get("/sign-in", self.home),
            web.post("/sign-in", self.sign_in),
            web.post("/sign-out", self.sign_out),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """The page, or the sign-in form where a token is needed."""
        if not self._access.signed_in(request):
            return self._render("sign_in.html", wrong=False)
        return self._render("index.html", sign_out=self._access.token_needed, tiles=TILES)

    async def asset(self, request: web.Request) -> web.Response:
        """A file of the page."""
        name = request.match_info["name"]
        if name not in ASSETS:
            raise problem.not_found("There is no such file.")
        return web.Response(
            body=self._files[name],
            content_type=ASSETS[name],
            charset="utf-8",
            headers={hdrs.CACHE_CONTROL: FOREVER},
        )

    async def favicon(self, _: web.Request) -> web.Response:
        """What browsers ask for unasked."""
        return web.Response(
            body=self._files["favicon.svg"],
            content_type="image/svg+xml",
            headers={hdrs.CACHE_CONTROL: "public, max-age=86400"},
        )

    async def home(self, _: web.Request) -> web.Response:
        """Someone reloaded the form: it lives at `/`."""
        return _see_home()

    async def sign_in(self, request: web.Request) -> web.Response:
        """The token in, a cookie out; the cookie holds a proof, never the token."""
        if not self._access.token_needed:
            return _see_home()
        if not self._access.is_token(await _token_from(request)):
            return self._render("sign_in.html", wrong=True, status=HTTPStatus.UNAUTHORIZED)
        answer = _see_home()
        answer.set_cookie(
            COOKIE,
            self._access.cookie(),
            max_age=COOKIE_LIFE_S,
            path="/",
            httponly=True,
            samesite="Strict",
            secure=_is_https(request),
        )
        return answer

    async def sign_out(self, request: web.Request) -> web.Response:
        """Forget the cookie. A copy of it would hold until its end; a new API_TOKEN ends all at once."""
        answer = _see_home()
        answer.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict", secure=_is_https(request))
        return answer

    def _render(self, name: str, *, status: int = HTTPStatus.OK, **values: object) -> web.Response:
        html = self._templates.get_template(name).render(
            version=service.__version__, hash=self._hash, **values
        )
        return web.Response(text=html, content_type="text/html", status=status)


def _see_home() -> web.Response:
    return web.Response(status=HTTPStatus.SEE_OTHER, headers={hdrs.LOCATION: "/"})


def _is_https(request: web.Request) -> bool:
    """Also behind a proxy that ends TLS; who lies about it only harms the own cookie."""
    forwarded = request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip().lower()
    return request.secure or forwarded == "https"


async def _token_from(request: web.Request) -> str:
    if request.content_type != "application/x-www-form-urlencoded":
        raise problem.wrong_type("Content-Type must be application/x-www-form-urlencoded.")
    if request.content_length is None or request.content_length > limits.FORM_BYTES:
        raise problem.too_large(f"The form must say its size, at most {limits.FORM_BYTES} bytes.")
    raw = await request.read()
    fields = parse_qs(raw.decode("utf-8", "replace"), keep_blank_values=True)
    return fields.get("token", [""])[0].strip()

"""`/api/v1/session`: where the connection is, the code to scan, and what an operator may do about both."""

import base64
import re
from http import HTTPStatus

from aiohttp import web
from pydantic import ValidationError

from service.clock import rfc3339, rfc3339_or_none
from service.errors import InvalidInput, StoreUnavailable
from service.queue.address import USER_SERVER, parse_chat
from service.reconnect.status import Status
from service.reconnect.words import ADVICES, STATES
from service.web import limits, problem, qr
from service.web.body import read_object, require_json
from service.web.ports import Connection
from service.web.problem import FieldError
from service.web.schemas import (
    PairIn,
    PairOut,
    QrOut,
    SessionOut,
    field_errors,
    shown,
)


class Session:
    """The handlers."""

    def __init__(self, *, connection: Connection) -> None:
        self._connection = connection

    def routes(self) -> list[web.RouteDef]:
        """Where they answer."""
        return [
            web.get("/api/v1/session", self.get),
            web.get("/api/v1/session/qr.svg", self.svg),
            web.get("/api/v1/session/qr.png", self.png),
            web.get("/api/v1/session/qr.txt", self.txt),
            web.post("/api/v1/session/pair", self.pair),
            web.delete("/api/v1/session/pair", self.abort_pairing),
            web.post("/api/v1/session/restart", self.restart),
            web.post("/api/v1/session/clear", self.clear),
            web.post("/api/v1/session/logout", self.logout),
        ]

    async def get(self, _: web.Request) -> web.Response:
        """200 with the state, what it means, what to do, and the QR code while there is one."""
        return web.json_response(text=session_out(self._connection.status).model_dump_json())

    async def svg(self, _: web.Request) -> web.Response:
        """The QR code as an image that scales; 404 when there is none."""
        return web.Response(text=qr.svg(self._code()), content_type="image/svg+xml")

    async def png(self, _: web.Request) -> web.Response:
        """The QR code as pixels; 404 when there is none."""
        return web.Response(body=qr.png(self._code()), content_type="image/png")

    async def txt(self, _: web.Request) -> web.Response:
        """The QR code as block characters, for `curl` in a dark terminal; 404 when there is none."""
        return web.Response(text=qr.terminal(self._code()) + "\n")

    async def pair(self, request: web.Request) -> web.Response:
        """200 with the code to type into the phone; 409 when the session is not waiting to be paired."""
        body = await read_object(request, limit_bytes=limits.FORM_BYTES)
        try:
            given = PairIn.model_validate(body)
        except ValidationError as error:
            raise problem.invalid(field_errors(error, PairIn)) from None
        code = await self._connection.pair_phone(phone_digits(given.phone))
        return web.json_response(text=PairOut(code=readable_code(code)).model_dump_json())

    async def abort_pairing(self, _: web.Request) -> web.Response:
        """202: no more codes until a restart; 409 when the session is not being paired."""
        await self._connection.abort_pairing()
        return self._accepted()

    async def restart(self, request: web.Request) -> web.Response:
        """202: the engine is being recycled; the state tells how it goes on."""
        require_json(request)
        await self._connection.restart()
        return self._accepted()

    async def clear(self, request: web.Request) -> web.Response:
        """202: the local session is being removed and pairing begins. WhatsApp is not told."""
        require_json(request)
        try:
            await self._connection.clear()
        except StoreUnavailable:
            detail = "The session's file cannot be removed; the error is in the log of the service."
            raise problem.unavailable("session-unavailable", detail) from None
        return self._accepted()

    async def logout(self, request: web.Request) -> web.Response:
        """202: WhatsApp has unlinked this device; 409 when there is no connection to say so over."""
        require_json(request)
        await self._connection.logout()
        return self._accepted()

    def _accepted(self) -> web.Response:
        return web.json_response(
            text=session_out(self._connection.status).model_dump_json(), status=HTTPStatus.ACCEPTED
        )

    def _code(self) -> str:
        status = self._connection.status
        if status.qr is None:
            raise problem.not_found(f"There is no QR code now: the session is {status.state}.")
        return status.qr


def session_out(status: Status) -> SessionOut:
    """A status as the API and the live stream show it."""
    return SessionOut(
        state=status.state,
        title=STATES[status.state].title,
        tone=STATES[status.state].tone,
        reason=status.reason,
        sentence=status.sentence,
        advice=status.advice,
        advice_sentence=ADVICES[status.advice],
        since=rfc3339(status.since),
        attempt=status.attempt,
        next_attempt_at=rfc3339_or_none(status.next_attempt_at),
        pair_code=None if status.pair_code is None else readable_code(status.pair_code),
        qr=None if status.qr is None else qr_out(status.qr),
    )


def qr_out(code: str) -> QrOut:
    """The code in its four forms."""
    png = base64.b64encode(qr.png(code)).decode()
    return QrOut(text=code, terminal=qr.terminal(code), svg=qr.svg(code), png=f"data:image/png;base64,{png}")


def phone_digits(phone: str) -> str:
    """The digits of a phone number. Raises Problem (422)."""
    if "@" in phone:
        raise problem.invalid(
            [FieldError("phone", f"{shown(phone)}: must be a phone number with country code")]
        )
    try:
        return parse_chat(phone, field="phone").removesuffix(f"@{USER_SERVER}")
    except InvalidInput as error:
        raise problem.invalid([FieldError("phone", f"{shown(phone)}: {error.sentence}")]) from None


def readable_code(code: str) -> str:
    """Eight characters as the phone shows them: `ABCD-1234`."""
    return re.sub(r"^(\w{4})(\w{4})$", r"\1-\2", code)

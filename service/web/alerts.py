"""`/api/v1/alerts`: what Alertmanager and Grafana tell becomes messages to the chats of ALERT_CHATS.

Both try again after a 5xx and give up after a 4xx: the first is answered only where trying again helps.
"""

from http import HTTPStatus

from aiohttp import web
from pydantic import ValidationError

from service.alerting.desk import AlertDesk
from service.alerting.metrics import NotificationOutcome
from service.alerting.model import Notification
from service.web import limits, problem
from service.web.access import ALERTS
from service.web.body import read_object
from service.web.problem import Problem
from service.web.schemas import AcceptedOut, BatchOut, field_errors
from service.web.webhooks import NotificationIn, source_of


class Alerts:
    """The handler."""

    def __init__(self, desk: AlertDesk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Where it answers."""
        return [web.post(ALERTS, self.post)]

    async def post(self, request: web.Request) -> web.Response:
        """202 with a kept message for each chat, or a problem and nothing kept."""
        notification = await self._read(request)
        if not self._desk.chats:
            self._desk.metrics.received(notification.source, NotificationOutcome.NO_CHATS)
            raise problem.conflict("ALERT_CHATS is not set: nobody would get this alert.")
        kept = await self._desk.tell(notification)
        answer = BatchOut(messages=[AcceptedOut.accepted(enqueued) for enqueued in kept])
        return web.json_response(text=answer.model_dump_json(), status=HTTPStatus.ACCEPTED)

    async def _read(self, request: web.Request) -> Notification:
        source = None
        try:
            body = await read_object(request, limit_bytes=limits.BODY_BYTES)
            source = source_of(body)
            return NotificationIn.model_validate(body).notification()
        except Problem:
            self._desk.metrics.received(source, NotificationOutcome.INVALID)
            raise
        except ValidationError as error:
            self._desk.metrics.received(source, NotificationOutcome.INVALID)
            raise problem.invalid(field_errors(error, NotificationIn)) from None

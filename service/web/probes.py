"""`/livez`, `/readyz`, `/healthz`: open to everybody, so they name no chat, no number, no setting."""

from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from service.web.health import Answer, Health, Verdict

CONTENT_TYPE: Final = "application/health+json"


class Probes:
    """The handlers. They await nothing: a probe's default patience is one second."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def routes(self) -> list[web.RouteDef]:
        """Where they answer, HEAD included."""
        return [
            web.get("/livez", self.livez),
            web.get("/readyz", self.readyz),
            web.get("/healthz", self.healthz),
        ]

    async def livez(self, _: web.Request) -> web.Response:
        """200 as long as a restart would mend nothing."""
        return _answer(_document(self._health.live()))

    async def readyz(self, _: web.Request) -> web.Response:
        """200 as long as messages can be accepted and kept."""
        return _answer(_document(self._health.ready()))

    async def healthz(self, _: web.Request) -> web.Response:
        """Everything; 503 only when the service itself cannot do its work."""
        return _answer(self._health.report())


def _document(answer: Answer) -> dict[str, Any]:
    output = {} if answer.why is None else {"output": answer.why}
    return {"status": answer.verdict, **output}


def _answer(document: dict[str, Any]) -> web.Response:
    failed = document["status"] == Verdict.FAIL
    return web.json_response(
        document,
        status=HTTPStatus.SERVICE_UNAVAILABLE if failed else HTTPStatus.OK,
        content_type=CONTENT_TYPE,
    )

"""`/metrics`: Prometheus text, or OpenMetrics with exemplars when asked for."""

import gzip
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder

from service.telemetry.exposition import Exposition

GZIP_LEVEL: Final = 1
"""Of 354 kB, with an exemplar in each bucket, level 1 leaves 88. Level 6 leaves 78 and takes three times as
long, on the event loop."""


def metrics_handler(registry: CollectorRegistry) -> Handler:
    """What scrapers ask for, quickly; by the client library's handler whatever else can be asked for.

    An Accept header that the library stumbles over is treated as absent: prometheus_client 0.26 compares the
    version in it without checking it, and a malformed one (`version=abc`, or one in quotes) raises TypeError,
    which would be a 500.
    """
    rest = make_aiohttp_handler(registry)
    exposition = Exposition(registry)
    quick = {CONTENT_TYPE_PLAIN_0_0_4: exposition.text}
    for escaping in ("underscores", "allow-utf-8"):  # the same, where no name has to be escaped
        content_type = f"application/openmetrics-text; version=1.0.0; charset=utf-8; escaping={escaping}"
        quick[content_type] = exposition.openmetrics

    async def metrics(request: web.Request) -> web.StreamResponse:
        try:
            _, content_type = choose_encoder(",".join(request.headers.getall(hdrs.ACCEPT, [])))
        except (TypeError, ValueError):
            headers = request.headers.copy()
            headers.popall(hdrs.ACCEPT)
            request, content_type = request.clone(headers=headers), CONTENT_TYPE_PLAIN_0_0_4
        render = quick.get(content_type)
        if render is None or request.query:
            return await rest(request)
        return _answer(request, render(), content_type)

    return metrics


def _answer(request: web.Request, body: bytes, content_type: str) -> web.Response:
    headers = {hdrs.CONTENT_TYPE: content_type}
    if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower():
        headers[hdrs.CONTENT_ENCODING] = "gzip"
        return web.Response(body=gzip.compress(body, GZIP_LEVEL, mtime=0), headers=headers)
    response = web.Response(body=body, headers=headers)
    response.enable_compression()
    return response

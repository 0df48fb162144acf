"""`/metrics`: Prometheus text, or OpenMetrics with exemplars when asked for."""

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler
from prometheus_client.exposition import choose_encoder


def metrics_handler(registry: CollectorRegistry) -> Handler:
    """The client library's handler; an Accept header that it stumbles over is treated as absent.

    prometheus_client 0.26 compares the version in Accept without checking it: a malformed one
    (`version=abc`, or one in quotes) raises TypeError, which would be a 500.
    """
    handler = make_aiohttp_handler(registry)

    async def metrics(request: web.Request) -> web.StreamResponse:
        try:
            choose_encoder(",".join(request.headers.getall(hdrs.ACCEPT, [])))
        except (TypeError, ValueError):
            headers = request.headers.copy()
            headers.popall(hdrs.ACCEPT)
            request = request.clone(headers=headers)
        return await handler(request)

    return metrics

"""Counts every request, and gives each API request a span (semantic conventions for HTTP servers).

The path itself is never recorded: it may hold what a caller typed into it.
"""

from contextlib import AbstractContextManager
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from opentelemetry.trace import Span, SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.clock import Clock
from service.telemetry.within import failed, within
from service.web.metrics import UNMATCHED, WebMetrics, closed_method

API: Final = "/api/"
STREAM: Final = "/api/v1/events"
_PROPAGATOR: Final = TraceContextTextMapPropagator()


def route_of(request: web.Request) -> str:
    """The template that the request matched, such as `/api/v1/messages/{id}`."""
    resource = request.match_info.route.resource
    return UNMATCHED if resource is None else resource.canonical


def is_timed(route: str) -> bool:
    """Whether the route counts for latency and gets a span: the API, without the endless stream."""
    return route.startswith(API) and route != STREAM


def observing(*, metrics: WebMetrics, tracer: Tracer, clock: Clock) -> Middleware:
    """The outermost middleware: it sees the final status."""

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        route, method = route_of(request), closed_method(request.method)
        if route == STREAM:
            response = await handler(request)
        else:
            with metrics.in_flight.track_inprogress():
                response = await _timed(request, handler, route, method)
        metrics.answered(method=method, route=route, status=response.status)
        return response

    async def _timed(request: web.Request, handler: Handler, route: str, method: str) -> web.StreamResponse:
        if not is_timed(route):
            return await handler(request)
        started = clock.monotonic()
        with _span(tracer, request, route, method) as span:
            response = await handler(request)
            span.set_attribute("http.response.status_code", response.status)
            if response.status >= 500:
                failed(span, str(response.status))
            metrics.took(clock.monotonic() - started, method=method, route=route)
        return response

    return observe


def _span(tracer: Tracer, request: web.Request, route: str, method: str) -> AbstractContextManager[Span]:
    known = "_OTHER" if method == "other" else method
    return within(
        tracer.start_span(
            f"{'HTTP' if method == 'other' else method} {route}",
            context=_PROPAGATOR.extract(request.headers),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": known, "http.route": route, "url.scheme": request.scheme},
        )
    )

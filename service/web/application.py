"""Puts the HTTP side together: routes, and what stands before every one of them."""

from collections.abc import Iterator

from aiohttp import web
from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry

from service.alerting.desk import AlertDesk
from service.clock import Clock
from service.config import Settings
from service.web import limits, ports
from service.web.access import METRICS, Access
from service.web.alerts import Alerts
from service.web.backups import Backups
from service.web.events import Events
from service.web.exposition import metrics_handler
from service.web.fetch import Fetcher, is_public
from service.web.headers import add_headers
from service.web.health import Health
from service.web.media import Media
from service.web.messages import Messages
from service.web.metrics import WebMetrics
from service.web.observe import is_timed, observing
from service.web.openapi import OpenApi
from service.web.pages import Pages
from service.web.ports import Connection, Outbox
from service.web.probes import Probes
from service.web.problem import problems
from service.web.session import Session


def build(
    *,
    settings: Settings,
    outbox: Outbox,
    connection: Connection,
    health: Health,
    registry: CollectorRegistry,
    metrics: WebMetrics,
    tracer: Tracer,
    clock: Clock,
    alerts: AlertDesk,
    backups: ports.Backups | None = None,
) -> web.Application:
    """The application. Event streams end in its `on_shutdown`; it owns nothing else that runs. `backups` is
    None when none are made."""
    access = Access(settings=settings, metrics=metrics, clock=clock)
    events = Events(
        outbox=outbox,
        connection=connection,
        backups=backups,
        metrics=metrics,
        clock=clock,
        started_at=health.started_at,
    )
    openapi, pages = OpenApi(), Pages(access)
    limit_bytes = settings.media_max_mb * 1_000_000
    fetcher = Fetcher(
        limit_bytes=limit_bytes,
        may_connect=(lambda _: True) if settings.media_private_urls else is_public,
    )
    media = Media(outbox=outbox, fetcher=fetcher, limit_bytes=limit_bytes)
    app = web.Application(
        client_max_size=limits.BODY_BYTES,
        middlewares=[
            observing(metrics=metrics, tracer=tracer, clock=clock),
            problems,
            access.middleware(),
        ],
    )
    app.add_routes(
        [
            *Probes(health).routes(),
            web.get(METRICS, metrics_handler(registry)),
            *Messages(outbox=outbox, media=media, clock=clock).routes(),
            *Session(connection=connection).routes(),
            *Alerts(alerts).routes(),
            *Backups(backups=backups, changed=events.wake).routes(),
            *events.routes(),
            *openapi.routes(),
            *pages.routes(),
        ]
    )
    app.on_response_prepare.append(add_headers)
    app.on_startup.append(events.start)
    app.on_shutdown.append(events.stop)
    served = list(_served(app))
    of_people = {route.path for route in pages.routes()}
    openapi.describe(
        [pair for pair in served if pair[1] not in of_people and pair[0] != "HEAD"],
        token_needed=access.token_needed,
    )
    metrics.expect(served, timed=[pair for pair in served if is_timed(pair[1])])
    return app


def _served(app: web.Application) -> Iterator[tuple[str, str]]:
    """Every (method, route template) that answers."""
    for route in app.router.routes():
        if route.resource is not None:
            yield route.method, route.resource.canonical

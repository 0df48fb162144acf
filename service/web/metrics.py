"""What HTTP tells."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.telemetry.exemplar import exemplar

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OTHER: Final = "other"
UNMATCHED: Final = "unmatched"
STATUSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")
BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class AuthFailure(StrEnum):
    """Why a request was not let in."""

    MISSING = "missing"  # no token where one is needed
    WRONG_TOKEN = "wrong_token"  # noqa: S105 - a metric label
    STALE_COOKIE = "stale_cookie"  # expired, or made for another API_TOKEN
    CROSS_SITE = "cross_site"  # a change asked for by another site's page
    FOREIGN_HOST = "foreign_host"  # without API_TOKEN only loopback names are answered


class WebMetrics:
    """Requests by route template, never by path; every label set that can occur exists from the start."""

    def __init__(self, registry: CollectorRegistry, account: str) -> None:
        self._account = account
        self._requests = Counter(
            "whatsapp_http_requests",
            "HTTP requests answered, by method, route template and class of status.",
            ["account", "method", "route", "status"],
            registry=registry,
        )
        self._duration = Histogram(
            "whatsapp_http_request_duration_seconds",
            "Time to answer an API request; probes, metrics, pages and event streams are not in it.",
            ["account", "method", "route"],
            buckets=BUCKETS_S,
            registry=registry,
        )
        self.in_flight = Gauge(
            "whatsapp_http_requests_in_flight",
            "HTTP requests being answered now, event streams not counted.",
            ["account"],
            registry=registry,
        ).labels(account)
        self.streams = Gauge(
            "whatsapp_http_event_streams",
            "Event streams that are open now.",
            ["account"],
            registry=registry,
        ).labels(account)
        self._auth_failures = Counter(
            "whatsapp_http_auth_failures",
            "Requests not let in, by reason.",
            ["account", "reason"],
            registry=registry,
        )
        for reason in AuthFailure:
            self._auth_failures.labels(account, reason.value)

    def expect(self, routes: Iterable[tuple[str, str]], *, timed: Iterable[tuple[str, str]]) -> None:
        """Start every series of these (method, route) pairs at zero."""
        for method, route in (*routes, *((method, UNMATCHED) for method in (*METHODS, OTHER))):
            for status in STATUSES[1:]:
                self._requests.labels(self._account, method, route, status)
        for method, route in timed:
            self._duration.labels(self._account, method, route)

    def answered(self, *, method: str, route: str, status: int) -> None:
        """A request ended with this status."""
        self._requests.labels(self._account, method, route, f"{status // 100}xx").inc()

    def took(self, seconds: float, *, method: str, route: str) -> None:
        """An API request ended; call it inside its span, whose ids become the exemplar."""
        self._duration.labels(self._account, method, route).observe(seconds, exemplar())

    def refused(self, reason: AuthFailure) -> None:
        """A request was not let in."""
        self._auth_failures.labels(self._account, reason.value).inc()


def closed_method(method: str) -> str:
    """The method as a label: one of a closed set."""
    return method if method in METHODS else OTHER

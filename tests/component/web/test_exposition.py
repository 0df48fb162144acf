"""/metrics, and what HTTP tells of itself."""

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from service.errors import StoreUnavailable
from tests.component.web.conftest import Beacon

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
ACCEPT: dict[str, tuple[str | None, str]] = {
    "nothing": (None, TEXT),
    "anything": ("*/*", TEXT),
    "what Prometheus asks for": (PROMETHEUS, OPENMETRICS),
    "OpenMetrics": ("application/openmetrics-text; version=1.0.0", OPENMETRICS),
    "a version that is a word": ("application/openmetrics-text;version=abc", TEXT),
    "a version in quotes": ('application/openmetrics-text;version="1.0.0"', TEXT),
    "a text version that is a word": ("text/plain;version=abc", TEXT),
    "a version that ends early": ("application/openmetrics-text;version=1.", TEXT),
    "an empty version": ("text/plain;version=", TEXT),
}


@pytest.mark.parametrize(("accept", "content_type"), ACCEPT.values(), ids=ACCEPT.keys())
async def test_metrics_are_answered_whatever_accept_says(
    beacon: Beacon, accept: str | None, content_type: str
) -> None:
    headers = {} if accept is None else {"Accept": accept}
    response = await beacon.client.get("/metrics", headers=headers)

    assert response.status == 200
    assert response.headers["Content-Type"].startswith(content_type)
    assert "whatsapp_http_requests_total" in await response.text()


@pytest.mark.parametrize(("asked", "coding"), [("gzip", "gzip"), ("deflate", "deflate"), ("br", None)])
async def test_metrics_are_packed_as_the_scraper_can_unpack_them(
    beacon: Beacon, asked: str, coding: str | None
) -> None:
    response = await beacon.client.get("/metrics", headers={"Accept-Encoding": asked})

    assert response.headers.get("Content-Encoding") == coding
    assert "whatsapp_http_requests_total" in await response.text()


async def test_an_api_request_is_counted_timed_and_traced_by_its_template(beacon: Beacon) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    await beacon.client.get(
        "/api/v1/messages/15551234567", headers={"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    )

    route = "/api/v1/messages/{id}"
    labels = {"method": "GET", "route": route}
    assert beacon.sample("http_requests_total", **labels, status="4xx") == 1
    assert beacon.sample("http_request_duration_seconds_count", **labels) == 1
    (span,) = beacon.spans.get_finished_spans()
    assert (span.name, span.kind) == (f"GET {route}", SpanKind.SERVER)
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == trace_id
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": route,
        "url.scheme": "http",
        "http.response.status_code": 404,
    }
    exposition = await (await beacon.client.get("/metrics", headers={"Accept": PROMETHEUS})).text()
    assert "15551234567" not in exposition
    assert f'trace_id="{trace_id}"' in exposition


async def test_a_server_error_marks_the_span(beacon: Beacon) -> None:
    beacon.outbox.error = StoreUnavailable("locked")
    await beacon.client.get("/api/v1/messages/1")

    (span,) = beacon.spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "503"


async def test_the_publish_span_is_a_child_of_the_request(beacon: Beacon) -> None:
    await beacon.post(to="+4915123456789", text="x")

    publish, request = beacon.spans.get_finished_spans()
    assert (publish.name, request.name) == ("publish outbox", "POST /api/v1/messages")
    assert publish.parent is not None
    assert request.context is not None
    assert publish.parent.span_id == request.context.span_id


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/metrics", "/", "/assets/page.js"])
async def test_probes_metrics_and_pages_are_counted_but_neither_timed_nor_traced(
    beacon: Beacon, path: str
) -> None:
    await beacon.client.get(path)

    route = "/assets/{name}" if path.startswith("/assets") else path
    assert beacon.sample("http_requests_total", method="GET", route=route, status="2xx") == 1
    assert beacon.sample("http_request_duration_seconds_count", method="GET", route=route) is None
    assert beacon.spans.get_finished_spans() == ()


async def test_paths_and_methods_that_nobody_serves_share_one_series(beacon: Beacon) -> None:
    for path in ("/wp-login.php", "/.env", "/api/v1/15551234567"):
        await beacon.client.get(path)
    await beacon.client.request("PROPFIND", "/")

    assert beacon.sample("http_requests_total", method="GET", route="unmatched", status="4xx") == 3
    assert beacon.sample("http_requests_total", method="other", route="unmatched", status="4xx") == 1


async def test_every_series_is_there_before_the_first_request(beacon: Beacon) -> None:
    post = {"method": "POST", "route": "/api/v1/messages"}
    for status in ("2xx", "4xx", "5xx"):
        assert beacon.sample("http_requests_total", **post, status=status) == 0
    assert beacon.sample("http_request_duration_seconds_count", **post) == 0
    assert beacon.sample("http_requests_in_flight") == 0
    assert beacon.sample("http_event_streams") == 0
    assert beacon.sample("http_auth_failures_total", reason="wrong_token") == 0


async def test_requests_that_are_refused_are_counted(guarded: Beacon) -> None:
    await guarded.client.get("/api/v1/session")

    assert guarded.sample("http_auth_failures_total", reason="missing") == 1
    assert guarded.sample("http_requests_total", method="GET", route="/api/v1/session", status="4xx") == 1

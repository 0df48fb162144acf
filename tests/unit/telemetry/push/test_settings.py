"""OpenTelemetry's variables, and what is made of them."""

from pathlib import Path

import pytest

from service.assembly import EngineCommand
from service.telemetry.push import settings
from service.telemetry.push.translate import Temporality

HERE = "http://127.0.0.1:4318"
US = "https://otlp.nr-data.net"
KEY = "eu01xx0123456789NRAL"


def test_without_an_endpoint_nothing_is_sent_whatever_else_is_set() -> None:
    read = settings.read(
        {
            "NEW_RELIC_LICENSE_KEY": KEY,
            "OTEL_EXPORTER_OTLP_HEADERS": "a=b",
            "OTEL_METRIC_EXPORT_INTERVAL": "x",
        }
    )
    assert (read.traces, read.metrics, read.notes) == (None, None, ())


def test_one_endpoint_is_for_both_signals_and_gets_their_paths() -> None:
    read = settings.read({"OTEL_EXPORTER_OTLP_ENDPOINT": f"{HERE}/otlp/"})
    assert read.traces is not None
    assert read.metrics is not None
    assert (read.traces.url, read.metrics.url) == (f"{HERE}/otlp/v1/traces", f"{HERE}/otlp/v1/metrics")
    assert (read.metrics.timeout_s, read.metrics.gzip, read.metrics.tls) == (10.0, True, None)
    assert (read.temporality, read.interval_s) == (Temporality.CUMULATIVE, 60.0)
    assert (read.span_delay_s, read.span_queue, read.span_batch) == (5.0, 2048, 512)


def test_a_signals_own_variable_wins_and_its_endpoint_is_used_as_it_is() -> None:
    read = settings.read(
        {
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{HERE}/elsewhere",
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "x-own=1",
            "OTEL_EXPORTER_OTLP_HEADERS": "x-all=1",
            "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "2500",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        }
    )
    assert read.traces is None
    assert read.metrics is not None
    assert read.metrics.url == f"{HERE}/elsewhere"
    assert read.metrics.headers == {"x-own": "1"}
    assert (read.metrics.timeout_s, read.metrics.gzip) == (2.5, False)


def test_headers_are_percent_encoded_pairs_and_are_in_no_repr() -> None:
    read = settings.read(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": HERE,
            "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Basic%20c2VjcmV0, X=1=2",
        }
    )
    assert read.metrics is not None
    assert read.metrics.headers == {"authorization": "Basic c2VjcmV0", "x": "1=2"}
    assert "c2VjcmV0" not in repr(read)


@pytest.mark.parametrize(
    ("variables", "traces", "metrics"),
    [
        ({"OTEL_SDK_DISABLED": "True"}, False, False),
        ({"OTEL_METRICS_EXPORTER": "none"}, True, False),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, True, False),
        ({"OTEL_METRICS_EXPORTER": "otlp,prometheus"}, True, True),
        ({"OTEL_TRACES_EXPORTER": "none"}, False, True),
        ({"OTEL_SDK_DISABLED": "false"}, True, True),
    ],
    ids=lambda value: ",".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else None,
)
def test_what_is_turned_off_is_not_sent(variables: dict[str, str], traces: bool, metrics: bool) -> None:
    read = settings.read({"OTEL_EXPORTER_OTLP_ENDPOINT": HERE, **variables})
    assert (read.traces is not None, read.metrics is not None) == (traces, metrics)


@pytest.mark.parametrize("endpoint", [US, "https://otlp.eu01.nr-data.net", "https://gov-otlp.nr-data.net"])
def test_new_relic_gets_the_key_of_the_heroku_add_on_and_deltas(endpoint: str) -> None:
    read = settings.read({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "NEW_RELIC_LICENSE_KEY": KEY})
    assert read.metrics is not None
    assert read.traces is not None
    assert read.metrics.headers == read.traces.headers == {"api-key": KEY}
    assert read.temporality is Temporality.DELTA
    assert KEY not in repr(read)


@pytest.mark.parametrize(
    "endpoint",
    [HERE, "http://otlp.nr-data.net", "https://nr-data.net.example.org", "https://example.org/nr-data.net"],
)
def test_nobody_but_new_relic_over_tls_gets_its_key(endpoint: str) -> None:
    read = settings.read({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "NEW_RELIC_LICENSE_KEY": KEY})
    assert read.metrics is not None
    assert read.metrics.headers == {}
    assert read.temporality is Temporality.CUMULATIVE


def test_what_the_operator_says_wins_over_what_new_relic_asks_for() -> None:
    read = settings.read(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": US,
            "NEW_RELIC_LICENSE_KEY": KEY,
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=another",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "Cumulative",
        }
    )
    assert read.metrics is not None
    assert read.metrics.headers == {"api-key": "another"}
    assert read.temporality is Temporality.CUMULATIVE


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("OTEL_METRIC_EXPORT_INTERVAL", "60", "must be a whole number from 1000; 60000 is used"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "must be a whole number from 1; 2048 is used"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "-5", "must be a whole number from 1; 10000 is used"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli", "must be gzip or none; gzip is used"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "only http/protobuf is spoken"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "both", "cumulative is used"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "a part that is not is left out"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x=sec%0Aret", "a part that is not is left out"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "secret:4318", "must be an address"),
    ],
)
def test_what_cannot_be_used_is_told_without_its_value_and_stops_nothing(
    name: str, value: str, says: str
) -> None:
    read = settings.read({"OTEL_EXPORTER_OTLP_ENDPOINT": HERE, name: value})
    (note,) = read.notes
    assert note.startswith(name)
    assert says in note
    assert "sec" not in note.removeprefix(name)
    assert read.traces is not None


def test_a_certificate_that_is_not_there_sends_nothing_rather_than_to_anybody(tmp_path: Path) -> None:
    read = settings.read(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example.org",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "missing.pem"),
        }
    )
    assert (read.traces, read.metrics) == (None, None)
    assert any("no metrics are sent" in note for note in read.notes)


def test_a_batch_is_never_larger_than_the_queue() -> None:
    read = settings.read({"OTEL_EXPORTER_OTLP_ENDPOINT": HERE, "OTEL_BSP_MAX_QUEUE_SIZE": "100"})
    assert (read.span_queue, read.span_batch) == (100, 100)


def test_whatsapps_client_is_told_neither_the_headers_nor_where_telemetry_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in settings.SECRET_VARIABLES:
        monkeypatch.setenv(name, KEY)
    assert KEY not in EngineCommand().full_environment().values()

"""Traces: a provider that exports only when somebody said where to.

Everything else follows OpenTelemetry's own variables (OTEL_TRACES_SAMPLER, OTEL_BSP_*, OTEL_SDK_DISABLED,
OTEL_EXPORTER_OTLP_HEADERS ...), which the SDK reads itself.
"""

import os
import uuid

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import service

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def build_provider(account: str) -> TracerProvider:
    """A tracer provider. Spans leave the process only when an OTLP endpoint is set.

    Without one nothing is recorded either, and no exemplar points to a trace that nobody has; spans still
    have ids, so that log lines can be told together.
    """
    defaults = Resource(
        {
            "service.name": os.environ.get("HEROKU_APP_NAME", "beacon"),
            "service.version": service.__version__,
            "service.instance.id": os.environ.get("HEROKU_DYNO_ID", str(uuid.uuid4())),
            "whatsapp.account": account,
        }
    )
    # merged last, so that OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME win over our defaults
    resource = Resource.create().merge(defaults).merge(OTELResourceDetector().detect())
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return TracerProvider(resource=resource, sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def flush(provider: TracerProvider, *, timeout_s: float) -> None:
    """Send what is left and end the exporter's thread. Blocks; call it from a worker thread."""
    provider.force_flush(int(timeout_s * 1000))
    provider.shutdown()

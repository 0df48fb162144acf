"""Traces: a provider that records only when somebody takes its spans.

Everything else follows OpenTelemetry's own variables (OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME ...), which the
SDK reads itself.
"""

import os
import uuid
from typing import Final

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import service
from service.telemetry.recording import Provider
from service.telemetry.sampling import OneWay

HEROKU: Final = {"HEROKU_APP_ID": "heroku.app.id", "HEROKU_SLUG_COMMIT": "heroku.release.commit"}
"""Variables of Heroku's dyno metadata, as the semantic conventions for Heroku name them."""


def resource_of(account: str) -> Resource:
    """Who speaks, in traces and in pushed metrics."""
    defaults = Resource(
        {
            "service.name": os.environ.get("HEROKU_APP_NAME", "beacon"),
            "service.version": service.__version__,
            "service.instance.id": os.environ.get("HEROKU_DYNO_ID", str(uuid.uuid4())),
            "whatsapp.account": account,
            **{key: os.environ[name] for name, key in HEROKU.items() if os.environ.get(name)},
        }
    )
    # merged last, so that OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME win over our defaults
    return Resource.create().merge(defaults).merge(OTELResourceDetector().detect())


def build_provider(resource: Resource, spans: SpanProcessor | None) -> Provider:
    """A tracer provider whose spans go to that processor.

    Without one nothing is recorded, and no exemplar points to a trace that nobody has; spans still have ids,
    so that log lines can be told together.
    """
    if spans is None:
        return Provider(resource=resource, sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider = Provider(resource=resource, shutdown_on_exit=False)
    provider.sampler = OneWay(provider.sampler)
    provider.add_span_processor(spans)
    return provider

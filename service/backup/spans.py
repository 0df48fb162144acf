"""The backups' spans: `backup`, `verify backup` and `restore`, each with its steps as events."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.trace import Span, Status, StatusCode, Tracer

from service.backup.model import Cause


@contextmanager
def backup(tracer: Tracer, cause: Cause) -> Iterator[Span]:
    """A backup is made."""
    with _span(tracer, "backup", cause=cause.value) as span:
        yield span


@contextmanager
def verify(tracer: Tracer) -> Iterator[Span]:
    """A kept backup is checked."""
    with _span(tracer, "verify backup") as span:
        yield span


@contextmanager
def restore(tracer: Tracer) -> Iterator[Span]:
    """A session is brought back."""
    with _span(tracer, "restore") as span:
        yield span


def ended(span: Span, outcome: str, *, good: bool) -> None:
    """How it ended, one word of a closed set."""
    span.set_attribute("whatsapp.backup.outcome", outcome)
    if not good:
        span.set_attribute("error.type", outcome)
        span.set_status(Status(StatusCode.ERROR))


@contextmanager
def _span(tracer: Tracer, name: str, **attributes: str) -> Iterator[Span]:
    named = {f"whatsapp.backup.{key}": value for key, value in attributes.items()}
    # exceptions are told by their class alone: their texts name files of this machine
    with tracer.start_as_current_span(
        name, attributes=named, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:
            ended(span, type(error).__name__, good=False)
            raise

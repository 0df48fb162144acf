"""Work inside a span."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.context import attach, detach
from opentelemetry.trace import Span, Status, StatusCode, set_span_in_context


@contextmanager
def within(span: Span) -> Iterator[Span]:
    """The span is the current one, and ends with the block.

    An error that leaves the block is told by its class alone: its words, which OpenTelemetry's own `use_span`
    would record, may quote what somebody wrote.
    """
    token = attach(set_span_in_context(span))
    try:
        yield span
    except Exception as error:
        failed(span, type(error).__name__)
        raise
    finally:
        detach(token)
        span.end()


def failed(span: Span, error_type: str) -> None:
    """The span's work failed; `error_type` is one of a closed set, or a class of errors."""
    span.set_attribute("error.type", error_type)
    span.set_status(Status(StatusCode.ERROR))

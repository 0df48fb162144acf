"""Work inside a span."""

from contextlib import AbstractContextManager
from types import TracebackType

from opentelemetry.context import detach
from opentelemetry.trace import Span, Status, StatusCode

from service.telemetry.current import make_current


def within(span: Span) -> AbstractContextManager[Span]:
    """The span is the current one, and ends with the block.

    An error that leaves the block is told by its class alone: its words, which OpenTelemetry's own `use_span`
    would record, may quote what somebody wrote.
    """
    return _Within(span)


class _Within(AbstractContextManager[Span]):
    """A class, since a generator takes as long to be a context manager as the span does to be one."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> Span:
        self._token = make_current(self._span)
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            failed(self._span, type(error).__name__)
        detach(self._token)
        self._span.end()


def failed(span: Span, error_type: str) -> None:
    """The span's work failed; `error_type` is one of a closed set, or a class of errors."""
    span.set_attribute("error.type", error_type)
    span.set_status(Status(StatusCode.ERROR))

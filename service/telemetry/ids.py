"""A span's ids, and how they are written: in log lines, in exemplars, in traceparents.

One span is named in several of them, and what they have in common is made once.
"""

from functools import cached_property
from typing import Final

from opentelemetry.trace import SpanContext, TraceFlags, TraceState

DEFAULT_STATE: Final = TraceState.get_default()
FLAGS: Final = tuple(TraceFlags(bits) for bits in range(256))
"""All flags there can be, made beforehand."""


class Ids(SpanContext):
    """OpenTelemetry's ids of a span, which know how they are written."""

    @classmethod
    def of(cls, context: SpanContext) -> "Ids":
        """The same ids."""
        return context if type(context) is cls else tuple.__new__(cls, context)

    @classmethod
    def made(cls, trace_id: int, span_id: int, flags: int, state: TraceState | None) -> "Ids":
        """Of a span that begins here: its ids come from a generator, and are valid."""
        state = DEFAULT_STATE if state is None else state
        return tuple.__new__(cls, (trace_id, span_id, False, FLAGS[flags], state, True))

    @cached_property
    def written(self) -> tuple[str, str]:
        """The trace's and the span's, as everybody writes them."""
        return f"{self[0]:032x}", f"{self[1]:016x}"

    @cached_property
    def exemplar(self) -> dict[str, str]:
        """What points to it."""
        trace_id, span_id = self.written
        return {"trace_id": trace_id, "span_id": span_id}

    def traceparent(self) -> str:
        """As it is carried (W3C Trace Context, version 00)."""
        trace_id, span_id = self.written
        return f"00-{trace_id}-{span_id}-{self[3]:02x}"

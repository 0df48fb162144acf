"""A span's ids, and how they are written: in log lines, in exemplars, in traceparents.

One span is named in several of them, and each form is made once.
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
    def trace_hex(self) -> str:
        return f"{self[0]:032x}"

    @cached_property
    def span_hex(self) -> str:
        return f"{self[1]:016x}"

    @cached_property
    def traceparent(self) -> str:
        """As it is carried (W3C Trace Context, version 00)."""
        return f"00-{self.trace_hex}-{self.span_hex}-{self[3]:02x}"

    @cached_property
    def exemplar(self) -> dict[str, str] | None:
        """What points to it; None when it was not sampled, since then it is kept nowhere."""
        if not (self[3] & TraceFlags.SAMPLED and self[5]):
            return None
        return {"trace_id": self.trace_hex, "span_id": self.span_hex}

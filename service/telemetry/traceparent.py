"""W3C traceparents: how spans know of each other where one is not inside the other.

A message carries that of its acceptance and a frame to the engine that of its sending, both written here, so
only version 00 is read.
"""

import re
from functools import lru_cache
from typing import Final

from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, TraceFlags

from service.telemetry.ids import Ids

_VERSION_0: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_READ_LATELY: Final = 1024
_NONE: Final = Ids.of(INVALID_SPAN_CONTEXT)


def traceparent_of(context: SpanContext) -> str | None:
    """The context as it is carried; None for one that names no span."""
    return Ids.of(context).traceparent() if context.is_valid else None


def unsampled(context: SpanContext) -> str | None:
    """The same for what is not recorded, though the span itself is."""
    flags = TraceFlags(context.trace_flags & ~TraceFlags.SAMPLED)
    return traceparent_of(SpanContext(context.trace_id, context.span_id, context.is_remote, flags))


@lru_cache(_READ_LATELY)  # a message's is read at each step of its way, and a batch has one for all
def context_of(traceparent: str | None) -> Ids:
    """The context that is carried; one that is not valid for None and for what is none."""
    match = None if traceparent is None else _VERSION_0.fullmatch(traceparent)
    if match is None:
        return _NONE
    trace_id, span_id, flags = (int(digits, 16) for digits in match.groups())
    return Ids.of(SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags)))

"""Which traces are recorded: what OTEL_TRACES_SAMPLER says, with two things that it cannot say.

A message's way is several traces, linked to the one in which it was accepted: they follow its decision, so
that a message is recorded from acceptance to delivery, or not at all. And the account's connection is always
recorded, unless the sampler is one of `always_off`: logins are few, and looked for long after.
"""

from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, DEFAULT_OFF, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

ALWAYS: Final = frozenset({"connect", "reconnect attempt", "restore"})


class OneWay(Sampler):
    """Decides as the accepting trace was decided; where there is none, `otherwise` decides."""

    def __init__(self, otherwise: Sampler) -> None:
        self._otherwise = otherwise

    def should_sample(  # noqa: PLR0917 - the SDK calls it so
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        sampler = self._otherwise
        if sampler is not ALWAYS_OFF:
            root = not get_current_span(parent_context).get_span_context().is_valid
            if name in ALWAYS and sampler is not DEFAULT_OFF:
                sampler = ALWAYS_ON
            elif root and links:
                sampler = ALWAYS_ON if any(one.context.trace_flags.sampled for one in links) else ALWAYS_OFF
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"OneWay({self._otherwise.get_description()})"

"""Which traces are recorded: what OTEL_TRACES_SAMPLER says, with two things that it cannot say.

A message's way is several traces, linked to the one in which it was accepted: they follow its decision, so
that a message is recorded from acceptance to delivery, or not at all. And the account's connection is always
recorded, unless the sampler is one of `always_off`: logins are few, and looked for long after.
"""

from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Sampler,
    SamplingResult,
)
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from service.telemetry.current import current_span

ALWAYS: Final = frozenset({"connect", "reconnect attempt", "restore"})


class OneWay(Sampler):
    """Decides as the accepting trace was decided; where there is none, `otherwise` decides."""

    def __init__(self, otherwise: Sampler) -> None:
        self._otherwise = otherwise

    def decided(self, above: SpanContext, name: str, links: Sequence[Link]) -> bool | None:
        """Whether a span below `above` is recorded, as far as that is known without asking the SDK."""
        otherwise = self._otherwise
        if otherwise is ALWAYS_OFF:
            return False
        if name in ALWAYS and otherwise is not DEFAULT_OFF:
            return True
        if above.is_valid:
            sampled = above.trace_flags.sampled
            # a message beyond the bound is left out below its span, too, where the sampler knows no parents
            left_out = not sampled and not above.is_remote
            return sampled if left_out or otherwise is DEFAULT_ON else None
        if links:
            return any(one.context.trace_flags.sampled for one in links)
        return True if otherwise is DEFAULT_ON else None

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
        decided = self.decided(current_span(parent_context).get_span_context(), name, links or ())
        sampler = self._otherwise if decided is None else ALWAYS_ON if decided else ALWAYS_OFF
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"OneWay({self._otherwise.get_description()})"


def decided(sampler: Sampler, above: SpanContext, name: str, links: Sequence[Link]) -> bool | None:
    """What that sampler will say of such a span, where it is known beforehand: an answer takes the SDK as
    long as everything else about a span that is not recorded."""
    if type(sampler) is OneWay:
        return sampler.decided(above, name, links)
    return False if sampler is ALWAYS_OFF else None

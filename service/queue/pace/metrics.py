"""What pacing tells. Every label set exists from the start, so rates are right from the first event."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from service.queue.model import Cooldown, Cooling


class Reason(StrEnum):
    """Why a message may not go out now."""

    RATE = "rate"
    CHAT_GAP = "chat_gap"
    STRANGERS_GAP = "strangers_gap"  # somebody else was met a moment ago
    STRANGERS_BUDGET = "strangers_budget"
    QUIET_HOURS = "quiet_hours"
    COOLDOWN_STRANGERS = "cooldown_strangers"
    COOLDOWN_UNASKED = "cooldown_unasked"


OF_THE_ACCOUNT: Final = tuple(reason for reason in Reason if reason is not Reason.CHAT_GAP)


class PaceMetrics:
    """How pacing stands, and what it put off. Without pacing the gauges are NaN and nothing is counted."""

    def __init__(self, registry: CollectorRegistry, account: str) -> None:
        postponed = Counter(
            "whatsapp_pace_postponed_total",
            "Times a message was put off, by reason. One that waits long is asked about, and counted, more "
            "than once. While the rate or quiet hours hold the whole account, messages are left alone.",
            ["account", "reason"],
            registry=registry,
        )
        self._postponed = {reason: postponed.labels(account, reason.value) for reason in Reason}
        cooldowns = Counter(
            "whatsapp_pace_cooldowns_total",
            "Cool-downs begun, by what stands still: chats that never wrote to us, or all but replies.",
            ["account", "cooling"],
            registry=registry,
        )
        self._cooldowns = {cooling: cooldowns.labels(account, cooling.value) for cooling in Cooling}
        until = Gauge(
            "whatsapp_pace_cooldown_until_timestamp_seconds",
            "When the latest cool-down ends or ended, Unix time; 0 when there never was one.",
            ["account", "cooling"],
            registry=registry,
        )
        self._until = {cooling: until.labels(account, cooling.value) for cooling in Cooling}
        held = Gauge(
            "whatsapp_pace_held",
            "1 for what keeps messages of some kind, or all, from going out now.",
            ["account", "reason"],
            registry=registry,
        )
        self._held = {reason: held.labels(account, reason.value) for reason in OF_THE_ACCOUNT}
        self._tokens = Gauge(
            "whatsapp_pace_tokens",
            "Messages that the rate allows to go out at once.",
            ["account"],
            registry=registry,
        ).labels(account)
        self._strangers_left = Gauge(
            "whatsapp_pace_strangers_left",
            "People who never wrote to us that may still be written to for the first time now, of those of "
            "any 24 hours.",
            ["account"],
            registry=registry,
        ).labels(account)
        for gauge in (*self._held.values(), self._tokens, self._strangers_left):
            gauge.set(float("nan"))

    def watch(
        self,
        *,
        tokens: Callable[[], float],
        strangers_left: Callable[[], float],
        held: Callable[[Reason], float],
    ) -> None:
        """Ask these at every scrape; each answers from memory."""
        self._tokens.set_function(tokens)
        self._strangers_left.set_function(strangers_left)
        for reason, gauge in self._held.items():
            gauge.set_function(partial(held, reason))

    def postponed(self, reason: Reason) -> None:
        """A message was put off."""
        self._postponed[reason].inc()

    def cooldown_begun(self, cooling: Cooling) -> None:
        """WhatsApp refused, and something stands still for it."""
        self._cooldowns[cooling].inc()

    def cooldowns(self, cooldowns: Mapping[Cooling, Cooldown]) -> None:
        """The cool-downs as they are."""
        for cooling, cooldown in cooldowns.items():
            self._until[cooling].set(cooldown.until)

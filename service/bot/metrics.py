"""What the bot tells. Every label set exists from the start, so rates are right from the first event."""

from collections.abc import Collection
from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

OTHER: Final = "other"
"""The label of every command that nobody registered: what people write must not become a label."""

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class CommandResult(StrEnum):
    """How a command ended."""

    ANSWERED = "answered"
    REFUSED = "refused"  # for admins only, and the sender is none
    FAILED = "failed"  # it raised
    TIMED_OUT = "timed_out"
    UNKNOWN = "unknown"  # no such command


class BotMetrics:
    """Commands by name and result, how long they took, and what was dropped."""

    def __init__(self, registry: CollectorRegistry, account: str, *, commands: Collection[str]) -> None:
        commands_total = Counter(
            "whatsapp_bot_commands",
            "Commands that ended, by name and result.",
            ["account", "command", "result"],
            registry=registry,
        )
        seconds = Histogram(
            "whatsapp_bot_command_duration_seconds",
            "Time from taking a command up to its last answer being queued.",
            ["account", "command"],
            buckets=BUCKETS,
            registry=registry,
        )
        self.results: dict[tuple[str, CommandResult], Counter] = {
            (command, result): commands_total.labels(account, command, result.value)
            for command in commands
            for result in CommandResult
            if result is not CommandResult.UNKNOWN
        }
        self.results[OTHER, CommandResult.UNKNOWN] = commands_total.labels(
            account, OTHER, CommandResult.UNKNOWN.value
        )
        self.seconds = {command: seconds.labels(account, command) for command in [*commands, OTHER]}
        self.waiting = Gauge(
            "whatsapp_bot_waiting",
            "Commands that wait to be taken up.",
            ["account"],
            registry=registry,
        ).labels(account)
        self.dropped = Counter(
            "whatsapp_bot_dropped",
            "Commands that were not taken up because too many were waiting.",
            ["account"],
            registry=registry,
        ).labels(account)
        self.answers_lost = Counter(
            "whatsapp_bot_answers_lost",
            "Apologies and hints that could not be queued.",
            ["account"],
            registry=registry,
        ).labels(account)

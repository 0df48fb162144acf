"""How fast, how often, how many: what pacing keeps to."""

from dataclasses import dataclass
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

from service.config import Hours, Seconds, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The settings of pacing. `zone` is where the quiet hours are, and the times that people are told."""

    send_rate: float  # messages a minute
    send_burst: int
    chat_gap: Seconds
    new_chats_per_day: int
    new_chat_gap: Seconds
    quiet_hours: Hours | None
    zone: tzinfo

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """As they are set."""
        return cls(
            send_rate=settings.send_rate,
            send_burst=settings.send_burst,
            chat_gap=settings.chat_gap,
            new_chats_per_day=settings.new_chats_per_day,
            new_chat_gap=settings.new_chat_gap,
            quiet_hours=settings.quiet_hours,
            zone=ZoneInfo(settings.tz) if settings.tz else UTC,
        )

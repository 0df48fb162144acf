"""The pause between two messages to one chat. Times are monotonic seconds.

It is kept in memory only: a process takes longer to start than the pause lasts.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

from service.config import Seconds

UNANSWERED_S: Final = 10.0
"""How long a message that does not say how it ended keeps the next one back: some never reach the engine."""

LOOK_AGAIN_S: Final = 1.0
_TIDY_ABOVE: Final = 512


@dataclass(slots=True)
class _Pause:
    message: str | None  # the message on its way, None when it has left
    began_at: float
    ends_at: float


class ChatGaps:
    """From when a message is let go until the next one of its chat may: the drawn pause, and at least the
    shortest one after it has left."""

    def __init__(self, gap: Seconds, rng: Random) -> None:
        self._gap = gap
        self._rng = rng
        self._pauses: dict[str, _Pause] = {}
        self._tidy_above = _TIDY_ABOVE

    def wait_s(self, chat: str, message: str, at: float) -> float:
        """Seconds until this message may follow; 0: now."""
        pause = self._pauses.get(chat)
        if pause is None or pause.message == message:
            return 0.0
        if pause.message is not None and at < pause.began_at + UNANSWERED_S:
            return max(pause.ends_at - at, self._gap.least, LOOK_AGAIN_S)
        return max(0.0, pause.ends_at - at)

    def begin(self, chat: str, message: str, at: float) -> None:
        """This message is let go."""
        self._tidy(at)
        pause_s = self._rng.uniform(self._gap.least, self._gap.most)
        self._pauses[chat] = _Pause(message, at, at + pause_s)

    def left(self, chat: str, message: str, at: float) -> None:
        """It is on its way no more."""
        pause = self._pauses.get(chat)
        if pause is not None and pause.message == message:
            pause.message = None
            pause.ends_at = max(pause.ends_at, at + self._gap.least)

    def _tidy(self, at: float) -> None:
        if len(self._pauses) < self._tidy_above:
            return
        over = [
            chat
            for chat, pause in self._pauses.items()
            if pause.ends_at <= at and (pause.message is None or at >= pause.began_at + UNANSWERED_S)
        ]
        for chat in over:
            del self._pauses[chat]
        self._tidy_above = max(_TIDY_ABOVE, 2 * len(self._pauses))

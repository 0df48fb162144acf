"""The limits and cool-downs with their reasons: the tables in docs/pacing.md.

`python -m service.queue.pace.table` prints them.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from service import settings_table
from service.queue.model import Cooling
from service.queue.pace.cooldowns import COURSES, MINUTE, Course

HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Why:
    """Why a setting is what it is when nobody sets it, and who says so."""

    setting: str
    reason: str
    source: str


WHYS: Final = (
    Why(
        "PACING",
        "Whoever sets up notifications has not read this page yet, and a ban cannot be taken back.",
        "WhatsApp's terms forbid bulk and automated messages; Baileys #2707",
    ),
    Why(
        "SEND_RATE",
        "One message every 3 s is what a busy person types and forwards. For chats that know the account; "
        "to strangers even a slower rate ended in bans, so this limit alone protects nobody.",
        "Baileys #2131: bulk, one every 7 s, banned; whatsmeow #506: more than 5 a minute is risky, "
        "above all with one text. No number is known to be safe; this one is our choice",
    ),
    Why(
        "SEND_BURST",
        "A handful of alerts should not wait for each other. After a start one goes at once and the others "
        "at the rate, so that restarts add nothing.",
        "our choice; GREEN-API lets its users send two a second",
    ),
    Why(
        "CHAT_GAP",
        "People do not answer within a second, nor at fixed intervals. It costs a first message nothing: "
        "only the next one to the same chat waits.",
        "WAHA's and other guides: random pauses, never fixed ones; the range is our choice",
    ),
    Why(
        "NEW_CHATS_PER_DAY",
        "The limit that matters most: bans for writing to strangers began at 15 to 20 a day, and 20 to 30 "
        "well-spaced ones were refused (463). 10 is for a number that is new to WhatsApp; raise it slowly, "
        "by a few a week, and not for people who did not ask to be written to.",
        "Baileys #1983: 15 to 20 a day, banned for 24 h, 48 h, for ever; whatsmeow #1157: 20 to 30, refused",
    ),
    Why(
        "NEW_CHAT_GAP",
        "Bans followed 5 such messages 5 s apart, and 18 to 20 of them 30 s apart.",
        "whatsmeow #465 (5 s), WebWhatsapp-Wrapper #416 (30 s)",
    ),
    Why(
        "QUIET_HOURS",
        "An alert that waits until the morning is none. For reminders and the like, quiet nights make an "
        "account look more like a person's.",
        "our choice",
    ),
)

SOURCES: Final = {
    Cooling.STRANGERS: "whatsmeow #1074, #1197 and WAHA #1904: restrictions of up to 7 days, for new chats "
    "only; trying again makes it worse (fazer-ai/baileys-api #341). 28 days is how long WhatsApp's privacy "
    "tokens live",
    Cooling.UNASKED: "mautrix/whatsapp PR 852, Baileys #2008: lookups are limited. How long is not known, so "
    "it is tried ever more rarely",
}

_REFUSALS: Final = {
    "reachout_timelocked": "463 in answer to a message",
    "rate_limited": "429 in answer to a message",
    "lookup_rate_limited": "429 (`rate-overlimit`) in answer to a lookup",
    "upload_rate_limited": "429 in answer to an upload",
}

_STANDS_STILL: Final = {
    Cooling.STRANGERS: "messages to people who never wrote to us",
    Cooling.UNASKED: "everything but replies",
}


def limits() -> str:
    """The settings of pacing as a Markdown table."""
    set_to = {row.name: row.default or "none" for row in settings_table.rows()}
    return _table(
        ("Setting", "Default", "Why", "Source"),
        ((f"`{why.setting}`", f"`{set_to[why.setting]}`", why.reason, why.source) for why in WHYS),
    )


def cooldowns() -> str:
    """The cool-downs as a Markdown table."""
    return _table(
        ("WhatsApp says", "What stands still", "For how long", "Forgotten after", "Source"),
        (
            (
                ", ".join(words for rule, words in _REFUSALS.items() if rule in course.rules),
                _STANDS_STILL[course.cooling],
                _lengths(course),
                _length(course.forgotten_after_s),
                SOURCES[course.cooling],
            )
            for course in COURSES
        ),
    )


def _lengths(course: Course) -> str:
    lengths = ", then ".join(_length(seconds) for seconds in course.lasts_s)
    return f"{lengths}; up to {course.spread:.0%} longer, drawn anew each time"


def _length(seconds: float) -> str:
    for unit_s, name in ((DAY, "days"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= 2 * unit_s or (seconds >= unit_s and name != "days"):
            return f"{seconds / unit_s:g} {name}"
    return f"{seconds:g} s"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


if __name__ == "__main__":
    sys.stdout.write(f"{limits()}\n\n{cooldowns()}\n")

"""The connection's states in words, with what to do about each, for somebody who never read the code."""

from typing import Final

from dashboards.panels import Look
from service.reconnect.status import State
from service.reconnect.words import STATES, Tone

COLORS: Final[dict[Tone, str]] = {"good": "green", "busy": "blue", "wait": "orange", "bad": "red"}

TITLES: Final = {state.value: Look(words.title, COLORS[words.tone]) for state, words in STATES.items()}

TO_DO: Final[dict[State, str]] = {
    State.STARTING: "Nothing yet: it should connect within a minute.",
    State.WAITING_FOR_LEASE: "Nothing on a standby. Else see Connection > Who may connect: it says what "
    "hinders.",
    State.UNPAIRED: "Open Beacon's page and link a phone.",
    State.PAIRING: "Scan the code on Beacon's page: WhatsApp > Linked devices > Link a device.",
    State.CONNECTING: "Nothing yet: it is logging in.",
    State.CONNECTED: "Nothing.",
    State.DEGRADED: "Nothing yet: it is being asked whether it still hears, and replaced if not.",
    State.BACKING_OFF: "Check the network; it tries again by itself. Messages wait and go out later.",
    State.REPLACED: "Look for another process with this session, and stop one of the two.",
    State.BANNED: "Look at WhatsApp on the phone. Send less and slower; it tries again when the ban ends.",
    State.LOGGED_OUT: "Link the phone again on Beacon's page. Messages are kept and wait.",
    State.OUTDATED: "Upgrade Beacon: WhatsApp refuses this version.",
    State.STOPPED: "Read the service's log, then start it again.",
}

ADVICE: Final = {state.value: Look(words, "text") for state, words in TO_DO.items()}

"""How states and advices are said to people: on the page, in the API, in `/healthz`."""

from dataclasses import dataclass
from typing import Final, Literal

from service.reconnect.status import Advice, State

Tone = Literal["good", "busy", "wait", "bad"]
"""good: all is well; busy: it works on it; wait: it waits for something or someone; bad: it has stopped."""


@dataclass(frozen=True, slots=True)
class Words:
    """A state as a headline, and how grave it is."""

    title: str
    tone: Tone


STATES: Final[dict[State, Words]] = {
    State.STARTING: Words("Starting", "busy"),
    State.WAITING_FOR_LEASE: Words("Waiting until it may connect", "wait"),
    State.UNPAIRED: Words("Not linked to a phone yet", "wait"),
    State.PAIRING: Words("Link your phone", "wait"),
    State.CONNECTING: Words("Connecting", "busy"),
    State.CONNECTED: Words("Connected", "good"),
    State.DEGRADED: Words("Connection is shaky", "wait"),
    State.BACKING_OFF: Words("Waiting to try again", "wait"),
    State.REPLACED: Words("Another process took over", "bad"),
    State.BANNED: Words("Banned for a while", "bad"),
    State.LOGGED_OUT: Words("Logged out", "bad"),
    State.OUTDATED: Words("Version too old for WhatsApp", "bad"),
    State.STOPPED: Words("Stopped", "bad"),
}

ADVICES: Final[dict[Advice, str]] = {
    Advice.NOTHING: "Nothing to do.",
    Advice.SCAN_QR: "On the phone, open WhatsApp > Linked devices > Link a device, and scan the code.",
    Advice.CHECK_NETWORK: "Check this machine's network, and WHATSAPP_PROXY if it is set.",
    Advice.CHECK_PHONE: "Look at WhatsApp on the phone of this account.",
    Advice.CHECK_OTHER_INSTANCE: "Look for another process that uses this session, and stop one of the two.",
    Advice.UPGRADE: "Upgrade Beacon.",
    Advice.READ_LOG: "Read the service's log.",
}

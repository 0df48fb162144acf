"""The words of the decision table: what can happen, when, and what can be done about it."""

import sys
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Final

from service.engine.exits import ExitReport
from service.engine.protocol import AnyEvent, Frame
from service.reconnect.reason import Reason
from service.reconnect.status import Advice, State


class Phase(StrEnum):
    """How far an engine has come; the same event means different things before and after a login."""

    PAIRING = "pairing"  # there is no device yet
    PAIRED = "paired"  # the device was made by this engine
    LOGIN = "login"  # there is a device, not connected yet
    ONLINE = "online"  # connected
    LOST = "lost"  # was connected; whatsmeow is reconnecting by itself


class Watch(StrEnum):
    """A silence that is watched: it elapses unless something happens first."""

    LOGIN = "login"
    QR = "qr"
    PAIRED = "paired"
    NO_RECONNECT = "no_reconnect"
    NOT_READY = "not_ready"
    KEEPALIVE = "keepalive"
    QUIET = "quiet"
    ANSWER = "answer"
    LAST_ANSWER = "last_answer"
    STABLE = "stable"


WATCH_S: Final[Mapping[Watch, float]] = {
    Watch.LOGIN: 60.0,
    Watch.QR: 90.0,  # whatsmeow shows the first code for 60 s, the others for 20 s (qrchan.go)
    Watch.PAIRED: 20.0,
    Watch.NO_RECONNECT: 20.0,
    Watch.NOT_READY: 60.0,
    Watch.KEEPALIVE: 180.0,  # on top of the minute that two lost pings took: about 4 min in all
    Watch.QUIET: 60.0,  # two keep-alive periods of whatsmeow's (keepalive.go: 20 to 30 s)
    Watch.ANSWER: 30.0,
    Watch.LAST_ANSWER: 30.0,
}
"""Seconds of each watch; STABLE is the backoff's own window."""


class Then(StrEnum):
    """What is done. Later ones are stricter: they replace an earlier one for the same engine."""

    STAY = "carry on"
    WAIT = "wait for whatsmeow's own reconnect"
    DEGRADE = "send nothing, wait in place"
    RECYCLE = "new engine at once, after backoff when it repeats"
    BACK_OFF = "new engine after backoff"
    YIELD = "no engine until the lease is held"
    PAUSE = "new engine after a fixed delay"
    UNTIL = "new engine when the ban has ended"
    HOLD = "stop until the operator acts"
    STOP = "stop"


RESTS: Final = frozenset({Then.PAUSE, Then.UNTIL, Then.HOLD})
"""A rest with a reason of its own, which lasts whether the lease is held or not."""

ENGINE_STAYS: Final = frozenset({Then.STAY, Then.WAIT, Then.DEGRADE})
STRICTNESS: Final[Mapping[Then, int]] = {then: rank for rank, then in enumerate(Then)}


class Side(StrEnum):
    """Where the trouble lies; the result of a login attempt that failed (metric label)."""

    NONE = "none"
    NETWORK = "network"
    WHATSAPP = "whatsapp"
    ACCOUNT = "account"
    ENGINE = "engine"
    OPERATOR = "operator"
    LEASE = "lease"


Happened = AnyEvent | ExitReport | Watch
ANY_PHASE: Final = frozenset(Phase)
NEW: Final = frozenset({Phase.PAIRING, Phase.PAIRED})
ONGOING: Final = frozenset({Phase.LOGIN, Phase.ONLINE, Phase.LOST})
PAIRING: Final = frozenset({Phase.PAIRING})
ONLINE: Final = frozenset({Phase.ONLINE})
LOGIN: Final = frozenset({Phase.LOGIN})
AT_LEAST_TWO: Final = range(2, sys.maxsize)


@dataclass(frozen=True, slots=True)
class On:
    """One thing that can happen. Every condition has to hold.

    `what` is a kind of engine event, the end of an engine (`ExitReport`) or a watch that elapsed.
    `where` narrows by fields: field name to the values meant. `text` narrows by what the event's text
    contains, any of these, in lower case.
    """

    what: type[Frame] | type[ExitReport] | Watch
    where: Mapping[str, Container[object]] = field(default_factory=dict)
    text: tuple[str, ...] = ()
    phases: frozenset[Phase] = ANY_PHASE

    def matches(self, happened: Happened, phase: Phase) -> bool:
        """Is this what happened, in that phase."""
        if phase not in self.phases:
            return False
        if isinstance(self.what, Watch):
            return happened is self.what
        if not isinstance(happened, self.what):
            return False
        if any(getattr(happened, name) not in values for name, values in self.where.items()):
            return False
        return not self.text or any(part in str(getattr(happened, "text", "")).lower() for part in self.text)


@dataclass(frozen=True, slots=True)
class Delay:
    """Seconds to wait: anywhere between the two; `doubling`: `low_s` doubles with each repetition up to
    `high_s`."""

    low_s: float
    high_s: float
    doubling: bool = False

    def draw(self, *, times: int, rng: Random) -> float:
        """Seconds to wait, this being the given time in a row (1 is the first)."""
        if self.doubling:
            return min(self.high_s, self.low_s * 2.0 ** min(times - 1, 64))
        return rng.uniform(self.low_s, self.high_s)


MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
PAUSE: Final = Delay(15 * MINUTE, 20 * MINUTE)

BAN_MARGIN: Final = Delay(1.10, 1.20)
"""A ban's length is multiplied by this: WhatsApp must not see us a second too early."""


@dataclass(frozen=True, slots=True)
class Escalation:
    """When rules of one `family` have applied `limit` times within that many seconds: `to` instead."""

    family: str
    limit: int
    within_s: float
    to: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row: what happened, what is done, and what people are told.

    `rows` are the numbers of the decision table (failure modes, section 1) that this row carries out.
    `on` is empty for what the supervisor itself starts. `watch` is the silence watched from then on,
    `delay` belongs to PAUSE and UNTIL, `cap_s` limits the backoff, `unlinks` says that the device is no
    longer one, `survives` that the delay holds after a restart of the process, too, `gentle`
    that the engine may finish what it sends, as it may before a wait that is not a backoff.
    """

    reason: Reason
    rows: tuple[str, ...] = ()
    on: tuple[On, ...] = ()
    state: State
    sentence: str
    then: Then = Then.STAY
    side: Side = Side.NONE
    advice: Advice = Advice.NOTHING
    watch: Watch | None = None
    delay: Delay | None = None
    cap_s: float | None = None
    unlinks: bool = False
    survives: bool = False
    gentle: bool = False
    escalation: Escalation | None = None

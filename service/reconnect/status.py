"""The connection's state as the world sees it: one state, a reason, a sentence, an advice."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where the account's connection is. Exactly one at a time (design: section 4)."""

    STARTING = "starting"
    WAITING_FOR_LEASE = "waiting_for_lease"
    UNPAIRED = "unpaired"
    PAIRING = "pairing"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    DEGRADED = "degraded"
    BACKING_OFF = "backing_off"
    REPLACED = "replaced"
    BANNED = "banned"
    LOGGED_OUT = "logged_out"
    OUTDATED = "outdated"
    STOPPED = "stopped"


class Advice(StrEnum):
    """What the operator should do."""

    NOTHING = "nothing"
    SCAN_QR = "scan_qr"
    CHECK_NETWORK = "check_network"
    CHECK_PHONE = "check_phone"
    CHECK_OTHER_INSTANCE = "check_other_instance"
    UPGRADE = "upgrade"
    READ_LOG = "read_log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A snapshot. Times are Unix seconds. `qr` and `pair_code` are set only in `pairing`."""

    state: State
    reason: str
    sentence: str
    advice: Advice
    since: float
    attempt: int = 0
    next_attempt_at: float | None = None
    qr: str | None = None
    pair_code: str | None = None

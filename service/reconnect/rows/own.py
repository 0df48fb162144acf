"""What the supervisor itself starts."""

from typing import Final

from service.reconnect.reason import Reason
from service.reconnect.rule import (
    Rule,
    Side,
    Then,
    Watch,
)
from service.reconnect.status import Advice, State

ROWS: Final[tuple[Rule, ...]] = (
    Rule(
        reason=Reason.STARTING,
        state=State.STARTING,
        sentence="Beacon is starting.",
    ),
    Rule(
        reason=Reason.LOGGING_IN,
        watch=Watch.LOGIN,
        state=State.CONNECTING,
        sentence="Logging in to WhatsApp.",
    ),
    Rule(
        reason=Reason.RESTARTED,
        then=Then.RECYCLE,
        state=State.CONNECTING,
        side=Side.OPERATOR,
        sentence="The operator asked for a new connection; it is being made.",
    ),
    Rule(
        reason=Reason.SESSION_CLEARED,
        then=Then.RECYCLE,
        state=State.UNPAIRED,
        side=Side.OPERATOR,
        advice=Advice.SCAN_QR,
        sentence="The operator cleared the session. A QR code is on its way; remove the old device on the "
        "phone.",
    ),
    Rule(
        reason=Reason.LOGOUT_ASKED,
        then=Then.HOLD,
        unlinks=True,
        state=State.LOGGED_OUT,
        side=Side.OPERATOR,
        advice=Advice.SCAN_QR,
        sentence="The operator logged Beacon out. Restart the connection to link a phone again.",
    ),
    Rule(
        reason=Reason.PAIRING_ABORTED,
        then=Then.HOLD,
        state=State.UNPAIRED,
        side=Side.OPERATOR,
        advice=Advice.SCAN_QR,
        sentence="The operator ended the linking. Restart the connection for a new QR code.",
    ),
    Rule(
        reason=Reason.STOPPED,
        then=Then.STOP,
        state=State.STOPPED,
        side=Side.OPERATOR,
        sentence="Beacon has been stopped.",
    ),
)

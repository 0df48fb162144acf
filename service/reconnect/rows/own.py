"""What the supervisor itself starts."""

from typing import Final

from service.reconnect.reason import Reason
from service.reconnect.rule import (
    Rule,
    Side,
    Then,
    Watch,
)
from service.reconnect.status import State

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
        reason=Reason.STOPPED,
        then=Then.STOP,
        state=State.STOPPED,
        side=Side.OPERATOR,
        sentence="Beacon has been stopped.",
    ),
)

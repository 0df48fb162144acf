"""What WhatsApp answers when it refuses or ends a connection."""

from typing import Final

from service.engine import protocol as engine
from service.reconnect.reason import Reason
from service.reconnect.rule import (
    MINUTE,
    ONGOING,
    PAUSE,
    Delay,
    Escalation,
    On,
    Rule,
    Side,
    Then,
    Watch,
)
from service.reconnect.status import Advice, State


def _refused(row: str, code: int, reason: Reason, delay: Delay, sentence: str) -> Rule:
    return Rule(
        reason=reason,
        rows=(row,),
        on=(On(engine.ConnectFailure, {"reason": {code}}),),
        then=Then.PAUSE,
        delay=delay,
        survives=True,
        state=State.BACKING_OFF,
        side=Side.WHATSAPP,
        advice=Advice.READ_LOG,
        sentence=f"WhatsApp refused the login ({code}). {sentence}",
    )


ROWS: Final[tuple[Rule, ...]] = (
    Rule(
        reason=Reason.STREAM_ERROR,
        rows=("9",),
        on=(On(engine.StreamError, phases=ONGOING),),
        then=Then.WAIT,
        watch=Watch.NO_RECONNECT,
        state=State.CONNECTING,
        side=Side.WHATSAPP,
        sentence="WhatsApp ended the connection with an error. It is being restored; messages are kept.",
        escalation=Escalation("stream_error", 3, 10 * MINUTE, Reason.STREAM_ERROR_REPEATED),
    ),
    Rule(
        reason=Reason.STREAM_ERROR_REPEATED,
        rows=("9",),
        then=Then.PAUSE,
        delay=PAUSE,
        survives=True,
        state=State.BACKING_OFF,
        side=Side.WHATSAPP,
        advice=Advice.READ_LOG,
        sentence="WhatsApp keeps ending the connection with an error: it may dislike something that is sent. "
        "Beacon pauses before it tries again.",
    ),
    Rule(
        reason=Reason.SERVER_UNAVAILABLE,
        rows=("19",),
        on=(On(engine.ConnectFailure, {"reason": {500, 503}}),),
        then=Then.WAIT,
        watch=Watch.NO_RECONNECT,
        state=State.CONNECTING,
        side=Side.WHATSAPP,
        sentence="WhatsApp's server is busy. The connection is being restored; messages are kept.",
    ),
    _refused(
        "10",
        400,
        Reason.REFUSED_GENERIC,
        Delay(MINUTE, 15 * MINUTE, doubling=True),
        "Beacon tries again, more slowly each time.",
    ),
    Rule(
        reason=Reason.BAD_USER_AGENT,
        rows=("16",),
        on=(On(engine.ConnectFailure, {"reason": {409}}),),
        then=Then.HOLD,
        state=State.OUTDATED,
        side=Side.WHATSAPP,
        advice=Advice.UPGRADE,
        sentence="WhatsApp refuses what this version says of itself (409). Upgrade Beacon and restart it.",
    ),
    Rule(
        reason=Reason.REFUSED_CAT,
        rows=("17",),
        on=(On(engine.ConnectFailure, {"reason": {413, 414}}),),
        then=Then.BACK_OFF,
        state=State.BACKING_OFF,
        side=Side.WHATSAPP,
        advice=Advice.READ_LOG,
        sentence="WhatsApp refused the login with a code meant for other programs. Beacon tries again.",
    ),
    _refused("20", 501, Reason.REFUSED_EXPERIMENTAL, PAUSE, "Beacon tries again in a quarter of an hour."),
    Rule(
        reason=Reason.REFUSED_UNKNOWN,
        rows=("18",),
        on=(On(engine.ConnectFailure), On(engine.ConnectEnded, text=("connectfailure.reason",))),
        then=Then.PAUSE,
        delay=PAUSE,
        survives=True,
        state=State.BACKING_OFF,
        side=Side.WHATSAPP,
        advice=Advice.READ_LOG,
        sentence="WhatsApp refused the login with a code that is not known here. Beacon tries again in a "
        "quarter of an hour.",
    ),
)

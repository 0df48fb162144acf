"""What becomes of the account: replaced, unlinked, banned."""

from collections.abc import Container, Mapping
from typing import Final

from service.engine import protocol as engine
from service.reconnect.reason import Reason
from service.reconnect.rule import (
    DAY,
    HOUR,
    Delay,
    Escalation,
    On,
    Rule,
    Side,
    Then,
)
from service.reconnect.status import Advice, State

UNKNOWN_BAN: Final = Delay(DAY, 1.1 * DAY)


def _logged_out(
    row: str,
    said: Reason,
    sentence: str,
    *,
    where: Mapping[str, Container[object]],
    advice: Advice,
    state: State = State.LOGGED_OUT,
) -> Rule:
    return Rule(
        reason=said,
        rows=(row,),
        on=(On(engine.LoggedOut, where),),
        then=Then.HOLD,
        unlinks=True,
        state=state,
        side=Side.ACCOUNT,
        advice=advice,
        sentence=sentence,
    )


def _banned(code: int, reason: Reason, sentence: str) -> Rule:
    return Rule(
        reason=reason,
        rows=("14",),
        on=(On(engine.TemporaryBan, {"code": {code}}),),
        then=Then.UNTIL,
        delay=UNKNOWN_BAN,
        survives=True,
        state=State.BANNED,
        side=Side.ACCOUNT,
        advice=Advice.CHECK_PHONE,
        sentence=f"WhatsApp banned the account for a while: {sentence}. Beacon waits until it is over. "
        "Send less, and to people who know you.",
    )


ROWS: Final[tuple[Rule, ...]] = (
    Rule(
        reason=Reason.REPLACED,
        rows=("8",),
        on=(On(engine.StreamReplaced),),
        then=Then.PAUSE,
        delay=Delay(45.0, 45.0),
        state=State.REPLACED,
        side=Side.ACCOUNT,
        advice=Advice.CHECK_OTHER_INSTANCE,
        sentence="Another program logged in with this session. Beacon tries once more in 45 seconds.",
        escalation=Escalation("replaced", 2, HOUR, Reason.REPLACED_AGAIN),
    ),
    Rule(
        reason=Reason.REPLACED_AGAIN,
        rows=("8",),
        then=Then.HOLD,
        state=State.REPLACED,
        side=Side.ACCOUNT,
        advice=Advice.CHECK_OTHER_INSTANCE,
        sentence="Another program keeps logging in with this session. Stop it, then restart the connection.",
    ),
    _logged_out(
        "12",
        Reason.MAIN_DEVICE_GONE,
        "The account is locked, banned, or was moved to another phone. Look at the phone; when WhatsApp "
        "works there, restart the connection and scan a QR code.",
        advice=Advice.CHECK_PHONE,
        where={"reason": {403}},
    ),
    _logged_out(
        "13",
        Reason.ACCOUNT_BANNED,
        "WhatsApp banned the account. The phone shows how to ask for a review. Beacon does nothing until the "
        "connection is restarted.",
        state=State.BANNED,
        advice=Advice.CHECK_PHONE,
        where={"reason": {406}},
    ),
    _logged_out(
        "11",
        Reason.LOGGED_OUT,
        "WhatsApp does not know this session any more. Restart the connection and scan a QR code.",
        advice=Advice.SCAN_QR,
        where={"on_connect": {True}},
    ),
    _logged_out(
        "7",
        Reason.UNLINKED,
        "Beacon was removed from the phone's linked devices. Restart the connection and scan a QR code.",
        advice=Advice.SCAN_QR,
        where={},
    ),
    _banned(101, Reason.BAN_STRANGERS, "it wrote to too many people who do not know it"),
    _banned(102, Reason.BAN_BLOCKED, "too many people blocked it"),
    _banned(103, Reason.BAN_GROUPS, "it made too many groups with people who do not know it"),
    _banned(104, Reason.BAN_SAME_TEXT, "it sent the same text to too many people"),
    _banned(106, Reason.BAN_BROADCAST, "it sent too much to broadcast lists"),
    Rule(
        reason=Reason.BAN_UNKNOWN,
        rows=("14", "14b"),
        on=(On(engine.TemporaryBan), On(engine.ConnectEnded, text=("temporaryban.code",))),
        then=Then.UNTIL,
        delay=UNKNOWN_BAN,
        survives=True,
        state=State.BANNED,
        side=Side.ACCOUNT,
        advice=Advice.CHECK_PHONE,
        sentence="WhatsApp banned the account for a while and did not say why. Beacon waits. Look at the "
        "phone.",
    ),
)

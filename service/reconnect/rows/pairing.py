"""From no device to a session: codes, the scan, and the restart behind it."""

from typing import Final

from service.engine import protocol as engine
from service.reconnect.reason import Reason
from service.reconnect.rule import (
    HOUR,
    NEW,
    PAIRING,
    Delay,
    On,
    Rule,
    Side,
    Then,
    Watch,
)
from service.reconnect.status import Advice, State

PAIRING_CAP_S: Final = 30.0
"""Without a device the wait stays short: a person may come to scan at any time."""


def _new_codes(reason: Reason, on: On, sentence: str) -> Rule:
    return Rule(
        reason=reason,
        rows=("22",),
        on=(on,),
        then=Then.RECYCLE,
        cap_s=PAIRING_CAP_S,
        state=State.UNPAIRED,
        side=Side.WHATSAPP,
        advice=Advice.SCAN_QR,
        sentence=f"{sentence} A new QR code is on its way.",
    )


ROWS: Final[tuple[Rule, ...]] = (
    Rule(
        reason=Reason.WAITING_FOR_QR,
        watch=Watch.LOGIN,
        state=State.UNPAIRED,
        sentence="No phone is linked yet. Waiting for WhatsApp to give a QR code.",
    ),
    Rule(
        reason=Reason.QR_READY,
        on=(On(engine.QrCode, phases=PAIRING),),
        watch=Watch.QR,
        state=State.PAIRING,
        advice=Advice.SCAN_QR,
        sentence="Open WhatsApp on the phone, choose Linked devices, and scan the QR code.",
    ),
    Rule(
        reason=Reason.PAIRED,
        on=(On(engine.Paired),),
        watch=Watch.PAIRED,
        state=State.CONNECTING,
        sentence="The phone accepted Beacon. Finishing the link.",
    ),
    Rule(  # because a second Connected can block an engine that paired by code for ever (H3)
        reason=Reason.PAIRING_FINISHED,
        on=(On(engine.Connected, phases=NEW),),
        then=Then.RECYCLE,
        state=State.CONNECTING,
        sentence="The phone is linked. Logging in with the new session.",
    ),
    Rule(
        reason=Reason.PAIRED_SILENCE,
        rows=("5",),
        on=(On(Watch.PAIRED),),
        then=Then.RECYCLE,
        state=State.CONNECTING,
        side=Side.WHATSAPP,
        sentence="The phone is linked, but WhatsApp went silent after asking for a restart. Logging in anew.",
    ),
    Rule(
        reason=Reason.CLIENT_OUTDATED,
        rows=("15",),
        on=(On(engine.ClientOutdated), On(engine.PairingEnded, text=("outdated",))),
        then=Then.PAUSE,
        delay=Delay(6 * HOUR, 12 * HOUR),
        state=State.OUTDATED,
        side=Side.WHATSAPP,
        advice=Advice.UPGRADE,
        sentence="WhatsApp refuses this version of neonize. Upgrade Beacon; it tries again in some hours.",
    ),
    _new_codes(
        Reason.QR_CODES_USED_UP,
        On(engine.PairingEnded, text=("timeout",)),
        "Nobody scanned the QR codes in time.",
    ),
    _new_codes(Reason.PAIRING_FAILED, On(engine.PairingEnded), "WhatsApp ended the pairing."),
    _new_codes(
        Reason.PAIRING_INTERRUPTED,
        On(engine.Disconnected, phases=PAIRING),
        "The connection was lost while the QR code was shown.",
    ),
    _new_codes(Reason.QR_SILENCE, On(Watch.QR), "The QR code has expired and no other followed."),
    _new_codes(Reason.PAIRING_OVERDUE, On(Watch.LOGIN, phases=PAIRING), "WhatsApp gave no QR code in time."),
)

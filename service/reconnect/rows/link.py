"""The way to WhatsApp: reached, lost, silent."""

from typing import Final

from service.engine import protocol as engine
from service.reconnect.reason import Reason
from service.reconnect.rule import (
    AT_LEAST_TWO,
    LOGIN,
    ONGOING,
    ONLINE,
    PAIRING,
    On,
    Rule,
    Side,
    Then,
    Watch,
)
from service.reconnect.status import Advice, State


def _unreachable(reason: Reason, text: tuple[str, ...], advice: Advice, sentence: str) -> Rule:
    return Rule(
        reason=reason,
        rows=("21",),
        on=(On(engine.ConnectEnded, text=text, phases=PAIRING | LOGIN),),
        then=Then.BACK_OFF,
        state=State.BACKING_OFF,
        side=Side.NETWORK,
        advice=advice,
        sentence=f"{sentence} Beacon keeps trying; messages are kept.",
    )


ROWS: Final[tuple[Rule, ...]] = (
    Rule(
        reason=Reason.CONNECTED,
        rows=("4", "3"),
        on=(On(engine.Connected, phases=ONGOING),),
        watch=Watch.STABLE,
        state=State.CONNECTED,
        sentence="Connected to WhatsApp.",
    ),
    Rule(
        reason=Reason.CONNECTION_LOST,
        rows=("1", "6", "19"),
        on=(On(engine.Disconnected, phases=ONGOING),),
        then=Then.WAIT,
        watch=Watch.NO_RECONNECT,
        state=State.CONNECTING,
        side=Side.NETWORK,
        sentence="The connection to WhatsApp was lost. It is being restored; messages are kept.",
    ),
    Rule(
        reason=Reason.NO_RECONNECT,
        rows=("1",),
        on=(On(Watch.NO_RECONNECT),),
        then=Then.BACK_OFF,
        state=State.BACKING_OFF,
        side=Side.NETWORK,
        advice=Advice.CHECK_NETWORK,
        sentence="The connection did not come back by itself. Beacon logs in anew; messages are kept.",
    ),
    Rule(
        reason=Reason.KEEPALIVE_LOST,
        rows=("2",),
        on=(On(engine.KeepAliveTimeout, {"failures": AT_LEAST_TWO}, phases=ONLINE),),
        then=Then.DEGRADE,
        watch=Watch.KEEPALIVE,
        state=State.DEGRADED,
        side=Side.NETWORK,
        advice=Advice.CHECK_NETWORK,
        sentence="WhatsApp does not answer. Nothing is sent until it does; messages are kept.",
    ),
    Rule(
        reason=Reason.KEEPALIVE_DEAD,
        rows=("2",),
        on=(On(Watch.KEEPALIVE),),
        then=Then.RECYCLE,
        state=State.CONNECTING,
        side=Side.NETWORK,
        advice=Advice.CHECK_NETWORK,
        sentence="WhatsApp has not answered for minutes. Beacon logs in anew; messages are kept.",
    ),
    Rule(
        reason=Reason.DEAF,
        rows=("deaf",),
        on=(On(Watch.LAST_ANSWER),),
        then=Then.RECYCLE,
        state=State.CONNECTING,
        side=Side.NETWORK,
        sentence="The connection looks alive, but nothing comes through it. Beacon logs in anew; messages "
        "are kept.",
    ),
    Rule(
        reason=Reason.KEEPALIVE_RESTORED,
        rows=("3",),
        on=(On(engine.KeepAliveRestored, phases=ONLINE),),
        watch=Watch.STABLE,
        state=State.CONNECTED,
        sentence="Connected to WhatsApp; it answers again.",
    ),
    _unreachable(
        Reason.PROXY_FAILED,
        ("proxyconnect", "socks connect", "proxy authentication", "bad gateway", "forbidden"),
        Advice.CHECK_NETWORK,
        "The proxy of WHATSAPP_PROXY does not let Beacon through to WhatsApp.",
    ),
    _unreachable(
        Reason.DNS_FAILED,
        ("no such host", "server misbehaving", "name resolution"),
        Advice.CHECK_NETWORK,
        "The address of web.whatsapp.com cannot be found.",
    ),
    _unreachable(
        Reason.TLS_FAILED,
        ("tls:", "x509:"),
        Advice.CHECK_NETWORK,
        "The secure connection to WhatsApp cannot be made; something in between may be reading along.",
    ),
    _unreachable(
        Reason.NETWORK_UNREACHABLE,
        ("connection refused", "unreachable", "no route to host", "i/o timeout", "connection reset"),
        Advice.CHECK_NETWORK,
        "WhatsApp cannot be reached from here.",
    ),
    Rule(
        reason=Reason.LOGIN_OVERDUE,
        rows=("24",),
        on=(On(Watch.LOGIN, phases=LOGIN),),
        then=Then.BACK_OFF,
        state=State.BACKING_OFF,
        side=Side.NETWORK,
        advice=Advice.CHECK_NETWORK,
        sentence="WhatsApp did not answer the login. Beacon tries again; messages are kept.",
    ),
    Rule(
        reason=Reason.NOT_READY,
        rows=("24", "5"),
        on=(On(Watch.NOT_READY),),
        then=Then.RECYCLE,
        state=State.CONNECTING,
        side=Side.NETWORK,
        sentence="The connection is gone without a word. Beacon logs in anew; messages are kept.",
    ),
)

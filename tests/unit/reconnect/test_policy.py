"""The decision table: complete, unambiguous, and in words that people can use."""

import pytest

from service.engine.exits import ExitCause, ExitReport
from service.engine.protocol import (
    ClientOutdated,
    Connected,
    ConnectEnded,
    ConnectFailure,
    Disconnected,
    KeepAliveRestored,
    KeepAliveTimeout,
    LoggedOut,
    Paired,
    PairingEnded,
    QrCode,
    StreamError,
    StreamReplaced,
    TemporaryBan,
)
from service.reconnect.policy import RULES, TABLE, decide
from service.reconnect.reason import Reason
from service.reconnect.rule import ENGINE_STAYS, Happened, Phase, Rule, Side, Then, Watch
from service.reconnect.status import Advice, State

TABLE_ROWS = {str(number) for number in range(1, 26)} | {"14b", "deaf"}

DIAL = "failed to dial whatsapp web websocket: failed to WebSocket dial: failed to send handshake request: "
GET = f'{DIAL}Get "https://web.whatsapp.com/ws/chat": '


def ended(cause: ExitCause) -> ExitReport:
    return ExitReport(cause=cause, returncode=None, detail="")


WHAT_HAPPENS: list[tuple[Happened, Phase, Reason | None]] = [
    (Disconnected(), Phase.ONLINE, Reason.CONNECTION_LOST),
    (Disconnected(), Phase.LOGIN, Reason.CONNECTION_LOST),
    (Disconnected(), Phase.PAIRING, Reason.PAIRING_INTERRUPTED),
    (Disconnected(), Phase.PAIRED, None),
    (Watch.NO_RECONNECT, Phase.LOST, Reason.NO_RECONNECT),
    (KeepAliveTimeout(failures=1, last_success=0.0), Phase.ONLINE, None),
    (KeepAliveTimeout(failures=2, last_success=0.0), Phase.ONLINE, Reason.KEEPALIVE_LOST),
    (KeepAliveTimeout(failures=9, last_success=0.0), Phase.ONLINE, Reason.KEEPALIVE_LOST),
    (KeepAliveTimeout(failures=9, last_success=0.0), Phase.LOST, None),
    (Watch.KEEPALIVE, Phase.ONLINE, Reason.KEEPALIVE_DEAD),
    (Watch.LAST_ANSWER, Phase.ONLINE, Reason.DEAF),
    (KeepAliveRestored(), Phase.ONLINE, Reason.KEEPALIVE_RESTORED),
    (Connected(jid="me"), Phase.LOGIN, Reason.CONNECTED),
    (Connected(jid="me"), Phase.LOST, Reason.CONNECTED),
    (Connected(jid="me"), Phase.PAIRED, Reason.PAIRING_FINISHED),
    (Paired(jid="me"), Phase.PAIRING, Reason.PAIRED),
    (Watch.PAIRED, Phase.PAIRED, Reason.PAIRED_SILENCE),
    (QrCode(code="2@a"), Phase.PAIRING, Reason.QR_READY),
    (PairingEnded(text="timeout"), Phase.PAIRING, Reason.QR_CODES_USED_UP),
    (PairingEnded(text="err-client-outdated"), Phase.PAIRING, Reason.CLIENT_OUTDATED),
    (PairingEnded(text="err-unexpected-state"), Phase.PAIRING, Reason.PAIRING_FAILED),
    (Watch.QR, Phase.PAIRING, Reason.QR_SILENCE),
    (Watch.LOGIN, Phase.PAIRING, Reason.PAIRING_OVERDUE),
    (Watch.LOGIN, Phase.LOGIN, Reason.LOGIN_OVERDUE),
    (Watch.NOT_READY, Phase.ONLINE, Reason.NOT_READY),
    (LoggedOut(on_connect=False, reason=401), Phase.ONLINE, Reason.UNLINKED),
    (LoggedOut(on_connect=True, reason=401), Phase.LOGIN, Reason.LOGGED_OUT),
    (LoggedOut(on_connect=True, reason=403), Phase.LOGIN, Reason.MAIN_DEVICE_GONE),
    (LoggedOut(on_connect=True, reason=406), Phase.LOGIN, Reason.ACCOUNT_BANNED),
    (StreamReplaced(), Phase.ONLINE, Reason.REPLACED),
    (StreamError(code="500"), Phase.ONLINE, Reason.STREAM_ERROR),
    (ClientOutdated(), Phase.LOGIN, Reason.CLIENT_OUTDATED),
    *(
        (ConnectFailure(reason=code, text=""), Phase.LOGIN, reason)
        for code, reason in {
            400: Reason.REFUSED_GENERIC,
            409: Reason.BAD_USER_AGENT,
            413: Reason.REFUSED_CAT,
            414: Reason.REFUSED_CAT,
            415: Reason.REFUSED_UNKNOWN,
            418: Reason.REFUSED_UNKNOWN,
            500: Reason.SERVER_UNAVAILABLE,
            501: Reason.REFUSED_EXPERIMENTAL,
            503: Reason.SERVER_UNAVAILABLE,
            999: Reason.REFUSED_UNKNOWN,
        }.items()
    ),
    *(
        (TemporaryBan(code=code, expire_s=60.0), Phase.LOGIN, reason)
        for code, reason in {
            101: Reason.BAN_STRANGERS,
            102: Reason.BAN_BLOCKED,
            103: Reason.BAN_GROUPS,
            104: Reason.BAN_SAME_TEXT,
            106: Reason.BAN_BROADCAST,
            105: Reason.BAN_UNKNOWN,
            0: Reason.BAN_UNKNOWN,
        }.items()
    ),
    (ConnectEnded(text="required field TemporaryBan.Code not set"), Phase.LOGIN, Reason.BAN_UNKNOWN),
    (ConnectEnded(text="required field ConnectFailure.Reason not set"), Phase.LOGIN, Reason.REFUSED_UNKNOWN),
    (ConnectEnded(text="required field Receipt.Type not set"), Phase.ONLINE, Reason.EVENT_LOOP_DIED),
    (ConnectEnded(text=""), Phase.LOST, Reason.EVENT_LOOP_DIED),
    (ConnectEnded(text=f"{GET}EOF"), Phase.LOGIN, Reason.CONNECT_FAILED),
    (
        ConnectEnded(text=f"{GET}dial tcp: lookup web.whatsapp.com on 127.0.0.1:53: no such host"),
        Phase.LOGIN,
        Reason.DNS_FAILED,
    ),
    (
        ConnectEnded(text=f"{GET}proxyconnect tcp: dial tcp 127.0.0.1:9: connect: connection refused"),
        Phase.LOGIN,
        Reason.PROXY_FAILED,
    ),
    (
        ConnectEnded(
            text=f"{GET}socks connect tcp 127.0.0.1:9->web.whatsapp.com:443: dial tcp 127.0.0.1:9: connect: "
            "connection refused"
        ),
        Phase.LOGIN,
        Reason.PROXY_FAILED,
    ),
    (ConnectEnded(text=f"{GET}Proxy Authentication Required"), Phase.PAIRING, Reason.PROXY_FAILED),
    (ConnectEnded(text=f"{GET}Bad Gateway"), Phase.LOGIN, Reason.PROXY_FAILED),
    (
        ConnectEnded(text=f"{GET}tls: first record does not look like a TLS handshake"),
        Phase.LOGIN,
        Reason.TLS_FAILED,
    ),
    (
        ConnectEnded(text=f"{GET}dial tcp 1.2.3.4:443: connect: connection refused"),
        Phase.LOGIN,
        Reason.NETWORK_UNREACHABLE,
    ),
    (ended(ExitCause.START_FAILED), Phase.PAIRING, Reason.ENGINE_START_FAILED),
    (ended(ExitCause.CRASHED), Phase.ONLINE, Reason.ENGINE_CRASHED),
    (ended(ExitCause.KILLED), Phase.ONLINE, Reason.ENGINE_KILLED),
    (ended(ExitCause.HEARTBEAT_LOST), Phase.ONLINE, Reason.ENGINE_SILENT),
    (ended(ExitCause.COMMAND_OVERDUE), Phase.ONLINE, Reason.ENGINE_OVERDUE),
    (ended(ExitCause.BAD_FRAME), Phase.ONLINE, Reason.ENGINE_GARBLED),
    (ended(ExitCause.STOPPED), Phase.ONLINE, Reason.ENGINE_ENDED),
]


@pytest.mark.parametrize(
    ("happened", "phase", "reason"), WHAT_HAPPENS, ids=[f"{h!r:.60}-{p}" for h, p, _ in WHAT_HAPPENS]
)
def test_what_happened_is_recognised(happened: Happened, phase: Phase, reason: Reason | None) -> None:
    rule = decide(happened, phase)
    assert (rule and rule.reason) == reason


def test_every_reason_has_exactly_one_row() -> None:
    assert [rule.reason for rule in TABLE].count(Reason.CONNECTED) == 1
    assert len(TABLE) == len(RULES) == len(Reason)
    assert set(RULES) == set(Reason)


def test_every_row_that_something_starts_is_reached_by_an_example() -> None:
    reached = {reason for _, _, reason in WHAT_HAPPENS}
    assert {rule.reason for rule in TABLE if rule.on} <= reached


def test_every_row_of_the_failure_modes_is_carried_out() -> None:
    assert {row for rule in TABLE for row in rule.rows} == TABLE_ROWS


@pytest.mark.parametrize("cause", ExitCause)
@pytest.mark.parametrize("phase", Phase)
def test_no_end_of_an_engine_is_without_an_answer(cause: ExitCause, phase: Phase) -> None:
    assert decide(ended(cause), phase) is not None


@pytest.mark.parametrize("rule", TABLE, ids=lambda rule: rule.reason)
def test_every_row_says_what_happens_and_what_to_do(rule: Rule) -> None:
    assert rule.sentence.endswith(".")
    assert rule.sentence[0].isupper()
    assert "{" not in rule.sentence
    if rule.then is Then.HOLD:
        assert rule.advice is not Advice.NOTHING, "nobody would end the hold"
        assert "restart" in rule.sentence.lower()


@pytest.mark.parametrize("rule", TABLE, ids=lambda rule: rule.reason)
def test_every_row_is_whole(rule: Rule) -> None:
    assert (rule.delay is not None) == (rule.then in {Then.PAUSE, Then.UNTIL})
    assert rule.watch is None or rule.then in ENGINE_STAYS
    if rule.then in {Then.WAIT, Then.DEGRADE}:
        assert rule.watch is not None, "it would wait for ever"
    if rule.then not in ENGINE_STAYS and rule.state is not State.CONNECTING:
        assert rule.side is not Side.NONE
    if rule.escalation is not None:
        assert RULES[rule.escalation.to].then not in ENGINE_STAYS


def test_only_connected_rows_say_connected() -> None:
    connected = {rule.reason for rule in TABLE if rule.state is State.CONNECTED}
    assert connected == {Reason.CONNECTED, Reason.KEEPALIVE_RESTORED}

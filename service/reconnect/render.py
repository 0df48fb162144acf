"""The decision table for people: for `beacon policy` and for the documentation."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from service.engine import protocol as engine
from service.engine.exits import ExitCause, ExitReport
from service.engine.protocol import Frame
from service.reconnect.backoff import Backoff
from service.reconnect.policy import TABLE
from service.reconnect.reason import Reason
from service.reconnect.rule import (
    ANY_PHASE,
    BAN_MARGIN,
    HOUR,
    MINUTE,
    WATCH_S,
    Delay,
    On,
    Phase,
    Rule,
    Then,
    Watch,
)

EVENTS: Final[Mapping[type[Frame], str]] = {
    engine.QrCode: "WhatsApp gives a QR code",
    engine.Paired: "the phone accepts this device",
    engine.PairingEnded: "the pairing ends",
    engine.Connected: "the login succeeds",
    engine.Disconnected: "the socket is closed",
    engine.KeepAliveTimeout: "pings stay unanswered",
    engine.KeepAliveRestored: "pings are answered again",
    engine.LoggedOut: "the device is logged out",
    engine.StreamReplaced: "`stream:error`, conflict `replaced`",
    engine.TemporaryBan: "failure 402, a temporary ban",
    engine.ConnectFailure: "the login is refused",
    engine.ClientOutdated: "failure 405, client outdated",
    engine.StreamError: "`stream:error` with another code",
    engine.ConnectEnded: "neonize's connect task ends",
}

WATCHES: Final[Mapping[Watch, str]] = {
    Watch.LOGIN: "nothing is heard of the login",
    Watch.QR: "no other QR code follows",
    Watch.PAIRED: "no connection after the phone accepted",
    Watch.NO_RECONNECT: "whatsmeow has not reconnected",
    Watch.NOT_READY: "neonize says that it is not connected, and no event does",
    Watch.LAST_ANSWER: "nothing comes but answers to pings, not even the answer to a second question,",
    Watch.KEEPALIVE: "pings are still unanswered",
}

ENDS: Final[Mapping[ExitCause, str]] = {
    ExitCause.STOPPED: "the engine exits by itself with code 0",
    ExitCause.CRASHED: "the engine crashes",
    ExitCause.KILLED: "the engine is killed from outside",
    ExitCause.HEARTBEAT_LOST: "the engine gives no sign of life",
    ExitCause.COMMAND_OVERDUE: "the engine does not finish a command",
    ExitCause.BAD_FRAME: "the engine sends what is no frame",
    ExitCause.START_FAILED: "the engine does not start",
}

PHASES: Final[Mapping[Phase, str]] = {
    Phase.PAIRING: "without a device",
    Phase.PAIRED: "just paired",
    Phase.LOGIN: "logging in",
    Phase.ONLINE: "connected",
    Phase.LOST: "after a loss",
}

FIELDS: Final[Mapping[str, str]] = {
    "reason": "reason {}",
    "code": "code {}",
    "failures": "{} times",
    "on_connect": "at the login: {}",
}

OWN: Final[Mapping[Reason, str]] = {
    Reason.STARTING: "the service starts",
    Reason.LOGGING_IN: "an engine is started, and there is a device",
    Reason.WAITING_FOR_QR: "an engine is started, and there is no device",
    Reason.RESTARTED: "the operator asks for it",
    Reason.SESSION_CLEARED: "the operator clears the session",
    Reason.LOGOUT_ASKED: "the operator logs out",
    Reason.PAIRING_ABORTED: "the operator ends the pairing",
    Reason.STOPPED: "the service is told to end",
    Reason.LEASE_HELD_ELSEWHERE: "another process holds the lease",
    Reason.LEASE_UNREACHABLE: "the lease's database does not answer",
    Reason.LEASE_REFUSED: "the lease's database refuses what is asked",
    Reason.LEASE_UNWRITABLE: "what has to be written here before a login cannot be written",
    Reason.LEASE_LOST: "the held lease can no longer be trusted",
    Reason.LEASE_HELD: "the lease is held after a wait for it",
    Reason.VAULT_UNREACHABLE: "there is no session here, or none that is safe, and the vault does not answer",
    Reason.BACKUP_UNREADABLE: "there is no session here, and no backup can be read",
    Reason.BACKUP_KEY_MISSING: "there is no session here, and the backup's key is not among ours",
    Reason.SESSION_UNREADABLE: "the session cannot be opened or read",
    Reason.MEMORY_LIMIT: "the engine's resident memory is over the limit, at most every 10 min",
    Reason.ENGINE_REFUSED: "neonize raises an error before it connects",
}
"""What happened, for rows that no event of an engine starts."""

HEADERS: Final = ("Row", "What happened", "What is done", "State", "Reason", "Advice", "What people are told")


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table in words; `rows` are its numbers, empty for Beacon's own steps."""

    rows: str
    happened: str
    done: str
    state: str
    reason: str
    advice: str
    sentence: str


def lines(table: Sequence[Rule] = TABLE, *, backoff: Backoff | None = None) -> list[Line]:
    """Every rule in the order in which they are tried; the first that fits decides."""
    backoff = backoff or Backoff()
    return [
        Line(
            rows=", ".join(rule.rows),
            happened=_happened(rule, table),
            done=_done(rule, backoff),
            state=rule.state.value,
            reason=rule.reason.value,
            advice=rule.advice.value,
            sentence=rule.sentence,
        )
        for rule in table
    ]


def markdown(table: Sequence[Line]) -> str:
    """The table as Markdown."""
    rows = [HEADERS, ("---",) * len(HEADERS)]
    rows += [
        (
            line.rows,
            line.happened,
            line.done,
            f"`{line.state}`",
            f"`{line.reason}`",
            f"`{line.advice}`",
            line.sentence,
        )
        for line in table
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def plain(table: Sequence[Line]) -> str:
    """The table for a terminal: the reason and its state, below what happened and what is done."""
    return "\n\n".join(
        f"{line.reason} -> {line.state}, {line.advice}{f' (row {line.rows})' if line.rows else ''}\n"
        f"    when: {line.happened}\n    done: {line.done}\n    told: {line.sentence}"
        for line in table
    )


def _happened(rule: Rule, table: Sequence[Rule]) -> str:
    if rule.on:
        return "; ".join(_on(on) for on in rule.on)
    for other in table:
        if (escalation := other.escalation) is not None and escalation.to is rule.reason:
            times = f"{escalation.limit} times within {_time(escalation.within_s)}"
            return f"{_family(escalation.family, table)} {times}"
    return OWN.get(rule.reason, "a step of Beacon's own")


def _family(family: str, table: Sequence[Rule]) -> str:
    """Every reason that counts towards an escalation."""
    members = [f"`{rule.reason}`" for rule in table if rule.escalation and rule.escalation.family == family]
    return ", ".join(members)


def _on(on: On) -> str:
    if isinstance(on.what, Watch):
        what = f"{WATCHES[on.what]} for {_time(WATCH_S[on.what])}"
    elif issubclass(on.what, ExitReport):
        return "; ".join(words for cause, words in ENDS.items() if cause in on.where["cause"])
    else:
        what = EVENTS[on.what]
    details = [FIELDS[name].format(_values(values)) for name, values in on.where.items()]
    if on.text:
        details.append(f"its text has {_or([f'`{part}`' for part in on.text])}")
    if on.phases != ANY_PHASE:
        details.append(_or([PHASES[phase] for phase in Phase if phase in on.phases]))
    return f"{what} ({', '.join(details)})" if details else what


def _values(values: Container[object]) -> str:
    match values:
        case range():
            return f"{values.start} or more"
        case set() | frozenset():
            return _or([{True: "yes", False: "no"}.get(value, str(value)) for value in sorted(values)])
    raise TypeError(f"no words for {values!r}")


def _done(rule: Rule, backoff: Backoff) -> str:
    said = rule.then.value
    match rule.then:
        case Then.BACK_OFF | Then.RECYCLE:
            ceiling = backoff.cap if rule.cap_s is None else rule.cap_s
            said += f" (0 to {_time(backoff.base)}, doubling to 0 to {_time(ceiling)})"
        case Then.PAUSE | Then.UNTIL if rule.delay is not None:
            said += f": {_delay(rule.delay)}"
            if rule.then is Then.UNTIL:
                low, high = (round((part - 1) * 100) for part in (BAN_MARGIN.low_s, BAN_MARGIN.high_s))
                said = f"{rule.then.value}: its length and {low} to {high} % more; {_delay(rule.delay)} "
                said += "when it was not told"
    if rule.survives:
        said += "; holds after a restart of the process, too"
    if rule.gentle:
        said += "; a send under way ends first"
    if rule.unlinks:
        said += "; the device is forgotten"
    if rule.watch is Watch.STABLE:
        said += f"; stable after {_time(backoff.stable_after)}, then earlier attempts are forgotten"
    elif rule.watch is not None:
        said += f", for {_time(WATCH_S[rule.watch])} at most"
    if rule.escalation is not None:
        said += f"; the {_ordinal(rule.escalation.limit)} time within {_time(rule.escalation.within_s)}: "
        said += f"`{rule.escalation.to}`"
    return said


def _delay(delay: Delay) -> str:
    if delay.doubling:
        return f"{_time(delay.low_s)}, doubling to {_time(delay.high_s)}"
    if delay.low_s == delay.high_s:
        return _time(delay.low_s)
    return f"{_time(delay.low_s)} to {_time(delay.high_s)}"


def _time(seconds: float) -> str:
    for size, least, unit in ((HOUR, HOUR, "h"), (MINUTE, 1.5 * MINUTE, "min")):
        if seconds >= least and round(seconds / size, 1) * size == round(seconds):
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")


def _or(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"

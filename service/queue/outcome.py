"""What an answer of the engine means for a message: a table of neonize's and whatsmeow's own words.

Sources: whatsmeow send.go, request.go and errors.go; nack codes as reported in its issues. A text that
no row knows counts as UNKNOWN, because the message may have left. What a rate limit (429, 463) means
for other messages is the pacer's business, which is told.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

from service.engine.protocol import Refusal, Refused, Sent
from service.errors import EngineError, EngineTimeout
from service.queue.model import Message, SendResult

_MINUTE: Final = 60.0
_HOUR: Final = 3600.0
_DAY: Final = 24 * _HOUR

RETRY_FLOOR_S: Final = 1.0
RETRY_CAP_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Rule:
    """What texts that match `pattern` mean.

    `waits_s` are ranges to draw the wait before the next attempt from: the first time, the second time
    in a row, and so on; empty means backoff with full jitter. The last range repeats, unless
    `gives_up`: then the message is dead when they are used up.
    """

    name: str
    pattern: str
    result: SendResult
    waits_s: tuple[tuple[float, float], ...] = ()
    gives_up: bool = False

    def matches(self, text: str) -> bool:
        return re.search(self.pattern, text) is not None


def _nack(codes: str) -> str:
    return rf"server returned error ({codes})\b"


_LOOKUP: Final = r"failed to (get (user info|device list|group members)|fetch LID mappings).*"
_COOLING: Final = tuple((wait * _MINUTE, 1.2 * wait * _MINUTE) for wait in (5, 10, 20, 40, 60))

RULES: Final[tuple[Rule, ...]] = (
    # its file did not arrive at WhatsApp, so the message was not begun (engine/uploads.py)
    Rule(
        "upload_rate_limited", r"^upload: .*(status (code )?429|rate-overlimit)",
        SendResult.RATE_LIMITED, _COOLING,
    ),
    Rule("upload_rejected", r"^upload: .*status code 4(0[056]|13|15|22)\b", SendResult.PERMANENT),
    Rule(
        "upload_disconnected",
        r"^upload: .*(websocket disconnected before info query|websocket not connected|client is nil)",
        SendResult.NOT_CONNECTED,
    ),
    Rule("upload_failed", r"^upload: ", SendResult.RETRYABLE),
    Rule("file_unusable", r"^file: ", SendResult.RETRYABLE),
    # the server acknowledged with an error: it was not sent
    Rule(
        "reachout_timelocked", _nack("463"), SendResult.RATE_LIMITED,
        ((_DAY, 1.1 * _DAY), (7 * _DAY, 7.5 * _DAY)),
    ),
    Rule("rate_limited", _nack("429"), SendResult.RATE_LIMITED, _COOLING),
    Rule("stanza_rejected", _nack("479"), SendResult.RATE_LIMITED, ((30.0, 60.0),), gives_up=True),
    Rule(
        "recipient_forbidden", _nack("403"), SendResult.RETRYABLE,
        ((_HOUR, 1.2 * _HOUR), (4 * _HOUR, 5 * _HOUR)), gives_up=True,
    ),
    Rule("odd_nack", _nack("405|420"), SendResult.RETRYABLE, ((5 * _MINUTE, 10 * _MINUTE),), gives_up=True),
    Rule("server_trouble", _nack("5[0-9][0-9]"), SendResult.RETRYABLE),
    Rule("rejected", _nack("[0-9]+"), SendResult.PERMANENT),
    # before anything was sent
    Rule("lookup_rate_limited", r"status 429|rate-overlimit", SendResult.RATE_LIMITED, _COOLING),
    Rule("no_client", r"client is nil", SendResult.NOT_CONNECTED),
    Rule("not_paired", r"the store doesn't contain a device JID", SendResult.NOT_CONNECTED),
    Rule(
        "bad_recipient",
        r"message recipient must be a user JID|can't send message to unknown server",
        SendResult.PERMANENT,
    ),
    Rule(
        "not_on_whatsapp", r"no LID found for", SendResult.RETRYABLE,
        ((_HOUR, 2 * _HOUR), (4 * _HOUR, 6 * _HOUR)), gives_up=True,
    ),
    Rule(
        "not_in_group",
        r"failed to get group members.*(status 40[34]|group does not exist|not participating in that group)",
        SendResult.PERMANENT,
    ),
    Rule(
        "lookup_disconnected",
        _LOOKUP + r"(websocket disconnected before info query|websocket not connected)",
        SendResult.NOT_CONNECTED,
    ),
    Rule("lookup_failed", _LOOKUP, SendResult.RETRYABLE),
    Rule(
        "encryption_failed",
        r"cipher encryption failed|failed to process prekey bundle|database is locked",
        SendResult.RETRYABLE,
        ((1.0, 10.0), (10.0, 60.0), (60.0, 300.0)), gives_up=True,
    ),
    Rule("store_failed", r"failed to prefetch sessions", SendResult.RETRYABLE),  # before it was encrypted
    Rule("not_connected", r"failed to send message node: websocket not connected", SendResult.NOT_CONNECTED),
    # it may have left
    Rule("write_failed", r"failed to send message node", SendResult.UNKNOWN),
    Rule("disconnected_after_write", r"^websocket not connected", SendResult.UNKNOWN),
    Rule("no_acknowledgement", r"timed out waiting for message send response", SendResult.UNKNOWN),
    Rule(
        "disconnected_before_acknowledgement",
        r"websocket disconnected before message send (retry )?returned response",
        SendResult.UNKNOWN,
    ),
)  # fmt: skip

UNRECOGNISED: Final = Rule("unrecognised", r".*", SendResult.UNKNOWN)
ENGINE_LOST: Final = Rule("engine_lost", r"^engine: ", SendResult.UNKNOWN)
NOT_BEGUN: Final = Rule("not_begun", r"^$", SendResult.NOT_CONNECTED)
UNFIT: Final = Rule("unfit", r"^frame ", SendResult.PERMANENT)
FILE_MISSING: Final = Rule("file_missing", r"^$", SendResult.PERMANENT)
ACKNOWLEDGED: Final = Rule("acknowledged", r"^$", SendResult.SENT)

ALL_RULES: Final = (*RULES, UNRECOGNISED, ENGINE_LOST, NOT_BEGUN, UNFIT, FILE_MISSING, ACKNOWLEDGED)
"""Every rule that an attempt may end by."""


class PostponeReason(StrEnum):
    """Why a claimed message was put back without an attempt."""

    PACING = "pacing"
    STORE = "store"  # what the pacer has to know could not be read
    FILE = "file"  # its bytes could not be put where the engine reads them


@dataclass(frozen=True, slots=True)
class Postponed:
    """No attempt: not before `until`, Unix seconds."""

    reason: PostponeReason
    until: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: by which rule, in which words, and under which WhatsApp id when sent.

    `overdue` tells that the engine which had it may still be alive for a moment.
    """

    rule: Rule
    text: str = ""
    whatsapp_id: str | None = None
    refusal: Refusal | None = None
    overdue: bool = False

    @property
    def result(self) -> SendResult:
        return self.rule.result

    @property
    def skipped(self) -> bool:
        """Whether it was no attempt, because the message before it in the chat did not go out."""
        return self.refusal is Refusal.SKIPPED


def judge(answer: Sent | Refused) -> Outcome:
    """What the engine's answer to a Send means."""
    if isinstance(answer, Sent):
        return Outcome(ACKNOWLEDGED, whatsapp_id=answer.message_id)
    if answer.refusal is not Refusal.FAILED:
        return Outcome(NOT_BEGUN, answer.text, refusal=answer.refusal)
    return Outcome(rule_for(answer.text), answer.text, refusal=answer.refusal)


def lost(error: Exception) -> Outcome:
    """What it means that the engine ended, or did not answer in time."""
    return Outcome(ENGINE_LOST, f"engine: {error}", overdue=isinstance(error, EngineTimeout))


def unfit(error: EngineError) -> Outcome:
    """What it means that the engine cannot be told of the message at all: nothing left."""
    return Outcome(UNFIT, str(error))


def file_missing(sha256: str) -> Outcome:
    """What it means that the bytes which a message names are not kept."""
    return Outcome(FILE_MISSING, f"the file {sha256} is not kept")


def skipped() -> Outcome:
    """What it means that the message before it in the chat did not go out."""
    return Outcome(NOT_BEGUN, refusal=Refusal.SKIPPED)


def results_of(rule: Rule) -> frozenset[SendResult]:
    """How an attempt that ended by this rule may count: an unknown one may turn out never to have left."""
    if rule.result is SendResult.UNKNOWN:
        return frozenset({SendResult.UNKNOWN, SendResult.NOT_CONNECTED})
    return frozenset({rule.result})


def rule_for(text: str) -> Rule:
    """The first rule that knows the text."""
    return next((rule for rule in RULES if rule.matches(text)), UNRECOGNISED)


def retry_at(outcome: Outcome, message: Message, *, now: float, rng: Random) -> float | None:
    """When to try again after an attempt that failed for sure, Unix seconds; None means never.

    `message` is as it was claimed. Without ranges of its own a rule waits with full jitter, 1 s to 5 min.
    """
    rule = outcome.rule
    if rule.result is SendResult.PERMANENT:
        return None
    if not rule.waits_s:
        ceiling = min(RETRY_CAP_S, 2.0 ** (message.attempts + 1))
        return now + rng.uniform(RETRY_FLOOR_S, ceiling)
    again = message.last_error is not None and rule_for(message.last_error) is rule
    turn = message.attempts if again else 0
    if rule.gives_up and turn >= len(rule.waits_s):
        return None
    return now + rng.uniform(*rule.waits_s[min(turn, len(rule.waits_s) - 1)])

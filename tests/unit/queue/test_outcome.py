"""What the engine's words mean: failure-modes.md, "SendMessageError texts", row by row."""

from random import Random

import pytest

from service.engine.protocol import Refusal, Refused, Sent
from service.errors import EngineGone, EngineTimeout, FrameError
from service.queue.model import SendResult
from service.queue.outcome import RULES, Outcome, judge, lost, retry_at, rule_for, unfit
from tests.unit.queue.messages import NOW, message

HOUR = 3600.0
DAY = 86_400.0


def failed(text: str) -> Outcome:
    return judge(Refused(id=1, refusal=Refusal.FAILED, text=text))


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("client is nil", SendResult.NOT_CONNECTED),
        ("the store doesn't contain a device JID", SendResult.NOT_CONNECTED),
        ("message recipient must be a user JID with no device part", SendResult.PERMANENT),
        ("can't send message to unknown server example.org", SendResult.PERMANENT),
        ("no LID found for # from server", SendResult.RETRYABLE),
        ("failed to get user info for #@lid to fill LID cache: info query timed out", SendResult.RETRYABLE),
        (
            "failed to get device list: websocket disconnected before info query returned response",
            SendResult.NOT_CONNECTED,
        ),
        (
            "failed to get device list: info query returned status 503: service-unavailable",
            SendResult.RETRYABLE,
        ),
        (
            "failed to get device list: info query returned status 429: rate-overlimit",
            SendResult.RATE_LIMITED,
        ),
        ("failed to get group members: info query returned status 403: forbidden", SendResult.PERMANENT),
        ("failed to get group members: that group does not exist", SendResult.PERMANENT),
        ("failed to get group members: you're not participating in that group", SendResult.PERMANENT),
        ("failed to get group members: info query timed out", SendResult.RETRYABLE),
        ("failed to fetch LID mappings: websocket not connected", SendResult.NOT_CONNECTED),
        ("cipher encryption failed: no session", SendResult.RETRYABLE),
        ("failed to process prekey bundle: bad signature", SendResult.RETRYABLE),
        ("failed to save: database is locked", SendResult.RETRYABLE),
        ("failed to prefetch sessions: dial tcp 127.0.0.1:5432: connection refused", SendResult.RETRYABLE),
        ("failed to send message node: websocket not connected", SendResult.NOT_CONNECTED),
        ("failed to send message node: write tcp: broken pipe", SendResult.UNKNOWN),
        ("websocket not connected", SendResult.UNKNOWN),
        ("timed out waiting for message send response", SendResult.UNKNOWN),
        ("websocket disconnected before message send returned response", SendResult.UNKNOWN),
        ("websocket disconnected before message send retry returned response", SendResult.UNKNOWN),
        ("context canceled", SendResult.UNKNOWN),
        ("words that nobody has seen before", SendResult.UNKNOWN),
        ("", SendResult.UNKNOWN),
        ("server returned error 463", SendResult.RATE_LIMITED),
        ("server returned error 429", SendResult.RATE_LIMITED),
        ("server returned error 479", SendResult.RATE_LIMITED),
        ("server returned error 403", SendResult.RETRYABLE),
        ("server returned error 405", SendResult.RETRYABLE),
        ("server returned error 420", SendResult.RETRYABLE),
        ("server returned error 500", SendResult.RETRYABLE),
        ("server returned error 400", SendResult.PERMANENT),
        ("server returned error 404", SendResult.PERMANENT),
        ("server returned error 4630", SendResult.PERMANENT),
        ("upload: upload failed with status code 413", SendResult.PERMANENT),
        ("upload: upload failed with status code 415", SendResult.PERMANENT),
        ("upload: upload failed with status code 401", SendResult.RETRYABLE),
        ("upload: upload failed with status code 403", SendResult.RETRYABLE),
        ("upload: upload failed with status code 404", SendResult.RETRYABLE),
        ("upload: upload failed with status code 429", SendResult.RATE_LIMITED),
        ("upload: upload failed with status code 503", SendResult.RETRYABLE),
        ("upload: not done within 542 s", SendResult.RETRYABLE),
        (
            'upload: failed to execute request: Post "https://mmg.whatsapp.net/mms/image/x?#": EOF',
            SendResult.RETRYABLE,
        ),
        (
            "upload: failed to refresh media connections: failed to query media connections: "
            "info query returned status 429: rate-overlimit",
            SendResult.RATE_LIMITED,
        ),
        (
            "upload: failed to refresh media connections: failed to query media connections: "
            "websocket disconnected before info query returned response",
            SendResult.NOT_CONNECTED,
        ),
        (
            "upload: failed to refresh media connections: failed to query media connections: "
            "websocket not connected",
            SendResult.NOT_CONNECTED,
        ),
        ("file: No such file or directory", SendResult.RETRYABLE),
        ("file: its bytes are not those that were kept", SendResult.RETRYABLE),
    ],
)
def test_each_known_text_has_its_result(text: str, result: SendResult) -> None:
    assert failed(text).result is result


def test_an_acknowledgement_is_sent_with_its_id() -> None:
    outcome = judge(Sent(id=1, message_id="3EB0", timestamp=1.0, took_s=0.1))
    assert (outcome.result, outcome.whatsapp_id) == (SendResult.SENT, "3EB0")


@pytest.mark.parametrize("refusal", [Refusal.SKIPPED, Refusal.NOT_CONNECTED, Refusal.BUSY])
def test_what_was_not_begun_never_left(refusal: Refusal) -> None:
    outcome = judge(Refused(id=1, refusal=refusal, text="websocket not connected"))
    assert outcome.result is SendResult.NOT_CONNECTED


def test_an_engine_that_ended_or_did_not_answer_leaves_the_outcome_unknown() -> None:
    assert lost(EngineGone("it ended")).result is SendResult.UNKNOWN
    assert not lost(EngineGone("it ended")).overdue
    assert lost(EngineTimeout("90 s")).overdue


def test_what_does_not_fit_a_frame_never_will() -> None:
    assert unfit(FrameError("frame of 2000000 bytes")).result is SendResult.PERMANENT


def test_every_rule_has_its_own_name() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_retries_wait_with_full_jitter_from_one_second_to_five_minutes() -> None:
    rng = Random(1)
    outcome = failed("server returned error 500")
    waits = [
        [(retry_at(outcome, message(attempts=n), now=NOW, rng=rng) or 0) - NOW for _ in range(300)]
        for n in range(12)
    ]
    ceilings = [min(300, 2 ** (n + 1)) for n in range(12)]
    for drawn, ceiling in zip(waits, ceilings, strict=True):
        assert min(drawn) >= 1
        assert 0.9 * ceiling < max(drawn) <= ceiling


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("server returned error 463", [(DAY, 1.1 * DAY), (7 * DAY, 7.5 * DAY), (7 * DAY, 7.5 * DAY)]),
        ("server returned error 429", [(300, 360), (600, 720), (1200, 1440), (2400, 2880), (3600, 4320)]),
        ("server returned error 479", [(30, 60), None]),
        ("server returned error 403", [(HOUR, 1.2 * HOUR), (4 * HOUR, 5 * HOUR), None]),
        ("no LID found for # from server", [(HOUR, 2 * HOUR), (4 * HOUR, 6 * HOUR), None]),
        ("cipher encryption failed", [(1, 10), (10, 60), (60, 300), None]),
        ("server returned error 400", [None]),
    ],
)
def test_a_refusal_that_repeats_waits_longer_and_may_give_up(
    text: str, ranges: list[tuple[float, float] | None]
) -> None:
    for attempts, expected in enumerate(ranges):
        before = message(attempts=attempts, last_error=text if attempts else None)
        at = retry_at(failed(text), before, now=NOW, rng=Random(1))
        if expected is None:
            assert at is None, f"attempt {attempts + 1} should have been the last"
        else:
            assert at is not None
            assert expected[0] <= at - NOW <= expected[1]


def test_earlier_trouble_of_another_kind_does_not_use_up_a_rules_patience() -> None:
    tried_before = message(attempts=5, last_error="server returned error 500")
    at = retry_at(failed("server returned error 479"), tried_before, now=NOW, rng=Random(1))
    assert at is not None
    assert 30 <= at - NOW <= 60


def test_the_rule_of_a_text_is_the_first_that_knows_it() -> None:
    assert rule_for("server returned error 463").name == "reachout_timelocked"
    assert rule_for("status 429: rate-overlimit").name == "lookup_rate_limited"

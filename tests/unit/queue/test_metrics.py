"""The queue's metrics: named well, all there from the start."""

from collections import Counter
from dataclasses import replace
from math import isnan

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from service.queue.metrics import QueueMetrics, StoreOperation
from service.queue.model import SendResult, State
from service.queue.outcome import ACKNOWLEDGED, NOT_BEGUN, RULES
from tests.unit.queue.messages import NOW, message


def test_every_series_exists_before_the_first_event() -> None:
    registry = CollectorRegistry()
    QueueMetrics(registry, "default")
    families = {family.name: family for family in registry.collect()}

    assert len(families) == 19
    for name, family in families.items():
        assert name.startswith("whatsapp_queue_")
        assert family.documentation.endswith(".")
        assert family.samples, f"{name} has no series"
        assert all(sample.labels["account"] == "default" for sample in family.samples)
    for state in State:
        assert (
            registry.get_sample_value("whatsapp_queue_messages", {"account": "default", "state": state.value})
            == 0
        )
    for rule in RULES:
        attempts = {"account": "default", "result": rule.result.value, "reason": rule.name}
        assert registry.get_sample_value("whatsapp_queue_attempts_total", attempts) == 0
    for operation in StoreOperation:
        assert (
            registry.get_sample_value(
                "whatsapp_queue_store_seconds_count", {"account": "default", "operation": operation.value}
            )
            == 0
        )


def test_an_empty_queue_has_no_oldest_message() -> None:
    registry = CollectorRegistry()
    metrics = QueueMetrics(registry, "default")
    oldest = "whatsapp_queue_oldest_timestamp_seconds"

    assert isnan(registry.get_sample_value(oldest, {"account": "default"}) or 0)
    metrics.depth(dict.fromkeys(State, 0), oldest_queued_at=12.5)
    assert registry.get_sample_value(oldest, {"account": "default"}) == 12.5


def test_an_observation_in_a_sampled_span_carries_it_as_exemplar() -> None:
    registry = CollectorRegistry()
    metrics = QueueMetrics(registry, "default")
    span = TracerProvider().get_tracer("test").start_span("send direct")

    with trace.use_span(span):
        metrics.attempted(SendResult.SENT, ACKNOWLEDGED, took_s=0.01)
    metrics.handed(waited_s=1.0)

    exposed = generate_latest(registry).decode()  # type: ignore[no-untyped-call]
    trace_id = f"{span.get_span_context().trace_id:032x}"
    assert any("send_seconds_bucket" in line and trace_id in line for line in exposed.splitlines())
    assert not any("wait_seconds" in line and "# {" in line for line in exposed.splitlines())


def test_an_attempt_that_never_left_has_no_send_time() -> None:
    registry = CollectorRegistry()
    metrics = QueueMetrics(registry, "default")
    metrics.attempted(SendResult.NOT_CONNECTED, NOT_BEGUN, took_s=5.0)
    assert registry.get_sample_value("whatsapp_queue_send_seconds_count", {"account": "default"}) == 0


@pytest.mark.parametrize(
    ("due_at", "attempts", "seconds"),
    [
        pytest.param(NOW, 1, 100, id="at once: from when it was accepted"),
        pytest.param(NOW + 60, 1, 40, id="later, as its caller or the pacing wanted: from then"),
        pytest.param(NOW - 60, 1, 100, id="due before it was accepted: nobody can be that quick"),
        pytest.param(NOW + 60, 2, 100, id="a second attempt: from when it was accepted"),
    ],
)
def test_how_long_it_took_until_whatsapp_had_a_message(due_at: float, attempts: int, seconds: float) -> None:
    registry = CollectorRegistry()
    metrics = QueueMetrics(registry, "default")
    sent = replace(message(state=State.SENT, attempts=attempts), due_at=due_at)

    metrics.sent(sent, now=NOW + 100)
    metrics.sent(replace(sent, resends=1), now=NOW + 200)

    labels = {"account": "default"}
    assert registry.get_sample_value("whatsapp_queue_sent_seconds_sum", labels) == seconds
    assert registry.get_sample_value("whatsapp_queue_sent_seconds_count", labels) == 1, "once a message"
    for objective in ("60.0", "300.0"):
        assert registry.get_sample_value(
            "whatsapp_queue_sent_seconds_bucket", {**labels, "le": objective}
        ) == (seconds <= float(objective)), "there is a bucket for each objective"


def test_time_in_which_the_pacing_held_the_account_does_not_count() -> None:
    registry = CollectorRegistry()
    metrics = QueueMetrics(registry, "default")
    asked: list[tuple[float, float]] = []

    def held_s(since: float, until: float) -> float:
        asked.append((since, until))
        return 70.0

    metrics.paced_by(held_s)
    metrics.sent(message(state=State.SENT, attempts=1), now=NOW + 100)
    assert asked == [(NOW, NOW + 100)]
    assert registry.get_sample_value("whatsapp_queue_sent_seconds_sum", {"account": "default"}) == 30


@pytest.mark.parametrize(
    ("before", "after", "counted"),
    [
        (State.SENDING, State.SENT, ["sent"]),
        (State.SENT, State.DELIVERED, ["delivered"]),
        (State.SENDING, State.DELIVERED, ["sent", "delivered"]),
        (State.UNKNOWN, State.READ, ["sent", "delivered", "read"]),
        (State.SENT, State.READ, ["delivered", "read"]),
        (State.SENDING, State.DEAD, ["dead"]),
        (State.SENT, State.QUEUED, []),
        (State.READ, None, []),
    ],
)
def test_what_a_receipt_overtook_is_counted_with_it(
    before: State, after: State | None, counted: list[str]
) -> None:
    registry = CollectorRegistry()
    QueueMetrics(registry, "default").moved({(before, after): 1})
    found = {
        state.value: registry.get_sample_value(
            "whatsapp_queue_terminal_total", {"account": "default", "state": state.value}
        )
        for state in State
    }
    assert [state for state, value in found.items() if value] == counted


def test_the_depth_is_that_of_the_last_commit_in_every_state() -> None:
    registry = CollectorRegistry()
    metrics = QueueMetrics(registry, "default")

    for counts in ({State.QUEUED: 3}, {State.QUEUED: 2, State.SENDING: 1}, {State.SENT: 3}):
        metrics.depth(Counter(counts), oldest_queued_at=None)

        shown = {
            state: registry.get_sample_value(
                "whatsapp_queue_messages", {"account": "default", "state": state.value}
            )
            for state in State
        }
        assert shown == dict.fromkeys(State, 0) | counts

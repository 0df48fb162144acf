"""Two workers, restarts, late answers and a moved clock: the store agrees with a naive queue."""

import asyncio
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)
from prometheus_client import CollectorRegistry

from service.errors import ClaimLost
from service.queue.metrics import QueueMetrics
from service.queue.model import Claim, OnUnknown, SendResult, State
from service.queue.sqlite import SqliteStore
from tests.clock import FakeClock
from tests.component.queue.naive import Entry, NaiveQueue
from tests.component.queue.support import to
from tests.people import ANN, BEN, CLEO

WORKERS = ("one", "two")
CHECKS = """
    SELECT (SELECT count(*) FROM lane) - (
        SELECT count(DISTINCT chat) FROM message WHERE state IN ('queued', 'unknown'))"""


class Machine(RuleBasedStateMachine):
    """Every rule does the same to both and compares what they answer."""

    claims: Bundle[tuple[Claim, Entry]] = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "queue.db"
        self.clock = FakeClock()
        self.naive = NaiveQueue()
        self.sends = 0

    @initialize()
    def begin(self) -> None:
        self.open()

    def open(self) -> None:
        metrics = QueueMetrics(CollectorRegistry(), "default")
        self.store = SqliteStore(self.path, account="default", metrics=metrics, clock=self.clock)
        self.runner.run(self.store.open())

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.runner.run(self.store.close())
        self.runner.close()
        self.folder.cleanup()

    @rule(
        chat=st.sampled_from([ANN, BEN, CLEO]),
        count=st.integers(1, 3),
        priority=st.integers(0, 9),
        delay_s=st.sampled_from([None, 0.0, 5.0]),
        ttl_s=st.sampled_from([3.0, 8.0, 1000.0]),
        max_attempts=st.integers(1, 3),
        on_unknown=st.sampled_from(OnUnknown),
    )
    def enqueue(
        self,
        chat: str,
        count: int,
        priority: int,
        delay_s: float | None,
        ttl_s: float,
        max_attempts: int,
        on_unknown: OnUnknown,
    ) -> None:
        now = self.clock.now()
        new = to(
            chat,
            priority=priority,
            not_before=None if delay_s is None else now + delay_s,
            expires_at=now + (delay_s or 0) + ttl_s,
            max_attempts=max_attempts,
            on_unknown=on_unknown,
        )
        for answer in self.runner.run(self.store.enqueue([new] * count, now=now)):
            kept = answer.message
            self.naive.entries.append(
                Entry(
                    kept.id, kept.chat, priority, max_attempts, on_unknown,
                    kept.due_at, kept.expires_at, kept.accepted_at,
                )
            )  # fmt: skip

    @rule(target=claims, worker=st.sampled_from(WORKERS))
    def claim(self, worker: str) -> tuple[Claim, Entry] | MultipleResults[tuple[Claim, Entry]]:
        now = self.clock.now()
        expected = self.naive.claim(worker, now)
        claim = self.runner.run(self.store.claim(worker=worker, now=now))
        assert (claim and (claim.message.id, claim.behind)) == (expected and (expected[0].id, expected[1]))
        if claim is None or expected is None:
            return multiple()
        entry = expected[0]
        entry.move(State.SENDING)
        entry.token, entry.worker = claim.token, worker
        return (claim, entry)

    @rule(
        held=consumes(claims),
        how=st.sampled_from(["complete", "release", "fail", "mark_unknown"]),
        retry_s=st.sampled_from([0.0, 2.0, 50.0]),
    )
    def settle(self, held: tuple[Claim, Entry], how: str, retry_s: float) -> None:
        self.answer(held, how, retry_s)

    @rule(held=claims, how=st.sampled_from(["complete", "release", "fail", "mark_unknown"]))
    def settle_and_once_more(self, held: tuple[Claim, Entry], how: str) -> None:
        self.answer(held, how, 1.0)
        with pytest.raises(ClaimLost):
            self.runner.run(self.store.release(held[0], now=self.clock.now()))

    def answer(self, held: tuple[Claim, Entry], how: str, retry_s: float) -> None:
        claim, entry = held
        now = self.clock.now()
        self.sends += 1
        whatsapp_id = f"w{self.sends}"
        if entry.token != claim.token:
            with pytest.raises(ClaimLost):
                self.runner.run(self.store.complete(claim, whatsapp_id=whatsapp_id, now=now))
            return
        match how:
            case "complete":
                work = self.store.complete(claim, whatsapp_id=whatsapp_id, now=now)
            case "release":
                work = self.store.release(claim, now=now)
            case "fail":
                work = self.store.fail(
                    claim, result=SendResult.RETRYABLE, error="e", retry_at=now + retry_s, now=now
                )
            case _:
                work = self.store.mark_unknown(claim, whatsapp_id=whatsapp_id, error="e", now=now)
        after = self.runner.run(work)
        self.naive.settle(entry, how, whatsapp_id=whatsapp_id, retry_at=now + retry_s)
        assert (after.state, after.attempts) == (entry.state, entry.attempts)

    @rule(ahead=st.integers(-4, 2), state=st.sampled_from([State.DELIVERED, State.READ]))
    def receive(self, ahead: int, state: State) -> None:
        whatsapp_id = f"w{self.sends + ahead}"
        now = self.clock.now()
        moved = self.runner.run(self.store.receive([whatsapp_id], state=state, at=now, now=now))
        assert [one.message.id for one in moved] == self.naive.receive(whatsapp_id, state)

    @rule()
    def resolve(self) -> None:
        unknown = self.runner.run(self.store.unknowns())
        expected = [entry for entry in self.naive.entries if entry.state is State.UNKNOWN]
        assert [message.id for message in unknown] == [entry.id for entry in expected]
        for entry in expected[:1]:
            after = self.runner.run(self.store.resolve_unknown(entry.id, now=self.clock.now()))
            self.naive.resolve(entry)
            assert after is not None
            assert after.state is entry.state

    @rule(worker=st.sampled_from(WORKERS))
    def rescue(self, worker: str) -> None:
        found = self.runner.run(self.store.orphans(worker=worker))
        expected = [
            entry for entry in self.naive.entries if entry.state is State.SENDING and entry.worker != worker
        ]
        assert {claim.token for claim in found} == {entry.token for entry in expected}
        for claim in found:
            self.runner.run(self.store.release(claim, now=self.clock.now()))
        for entry in expected:
            self.naive.settle(entry, "release", whatsapp_id="", retry_at=0.0)

    @rule(seconds=st.sampled_from([0.5, 3.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def expire(self) -> None:
        now = self.clock.now()
        assert self.runner.run(self.store.expire(now=now)) == self.naive.expire(now)

    @rule()
    def restart(self) -> None:
        self.runner.run(self.store.close())
        self.open()

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "store"):
            return
        counts = self.store.counts()
        for state in State:
            assert counts[state] == sum(entry.state is state for entry in self.naive.entries), state
        assert self.store.oldest_queued_at() == self.naive.oldest()
        with closing(sqlite3.connect(self.path)) as look:
            assert look.execute(CHECKS).fetchone() == (0,), "a chat has a lane as long as something waits"
            written = dict(look.execute("SELECT state, count(*) FROM message GROUP BY state"))
        assert {State(state): n for state, n in written.items()} == {s: n for s, n in counts.items() if n}


TestStore = Machine.TestCase
TestStore.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)

"""Two workers, crashes, late answers, people, a moved clock: each store agrees with a naive queue.

BEACON_EXAMPLES=2000 pytest tests/component/queue/test_state_machine.py looks longer than CI does.
"""

import asyncio
import os
from collections.abc import Coroutine
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, TypeVar

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
    precondition,
    rule,
    run_state_machine_as_test,
)
from uuid_utils import uuid7

from service.engine.content import File, Image
from service.errors import ClaimLost
from service.queue.model import Acquaintance, Claim, Message, OnUnknown, Query, SendResult, State
from tests.clock import FakeClock
from tests.component.queue.naive import Entry, NaiveQueue
from tests.component.queue.support import SETTLINGS, to
from tests.component.queue.worlds import PostgresWorld, SqliteWorld, World
from tests.people import ANN, BEN, CLEO

EXAMPLES = int(os.environ.get("BEACON_EXAMPLES", "30"))
SETTINGS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)

HOUR, DAY = 3600.0, 86_400.0
WORKERS = ("one", "two")
CHATS = [f"{phone}@s.whatsapp.net" for phone in (ANN, BEN, CLEO)]
PICTURES = (b"one picture", b"another picture")

T = TypeVar("T")

some_worker = st.sampled_from(WORKERS)
some_entry = st.integers(0, 63)


class Machine(RuleBasedStateMachine):
    """Every rule does the same to both and compares what they answer."""

    claims: Bundle[tuple[Claim, Entry]] = Bundle("claims")

    def __init__(self, world: World) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.world = world
        self.clock = FakeClock()
        self.naive = NaiveQueue(self.clock.now)
        self.sends = 0

    @initialize()
    def begin(self) -> None:
        self.do(self.world.begin())
        self.open()

    def open(self) -> None:
        self.store = self.world.make(self.clock)
        self.do(self.store.open())

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.do(self.store.close())
        self.do(self.world.end())
        self.runner.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @property
    def now(self) -> float:
        return self.clock.now()

    # --- hand in ----------------------------------------------------------------------------------

    @rule(
        phone=st.sampled_from([ANN, BEN, CLEO]),
        count=st.integers(1, 3),
        priority=st.integers(0, 9),
        delay_s=st.sampled_from([None, 0.0, 5.0]),
        ttl_s=st.sampled_from([3.0, 8.0, 1000.0, 2 * DAY]),
        max_attempts=st.integers(1, 3),
        on_unknown=st.sampled_from(OnUnknown),
        picture=st.sampled_from([None, None, *PICTURES]),
    )
    def enqueue(
        self,
        phone: str,
        count: int,
        priority: int,
        delay_s: float | None,
        ttl_s: float,
        max_attempts: int,
        on_unknown: OnUnknown,
        picture: bytes | None,
    ) -> None:
        new = to(
            phone,
            priority=priority,
            not_before=None if delay_s is None else self.now + delay_s,
            expires_at=self.now + (delay_s or 0) + ttl_s,
            max_attempts=max_attempts,
            on_unknown=on_unknown,
        )
        sha256 = None
        if picture is not None:
            sha256 = self.keep_file(picture)
            file = File(sha256=sha256, media_type="image/png", size_bytes=len(picture))
            new = replace(new, content=Image(file=file))
        for answer in self.do(self.store.enqueue([new] * count, now=self.now)):
            self.kept(answer.message, sha256)

    def kept(self, message: Message, sha256: str | None) -> None:
        self.naive.entries.append(
            Entry(
                message.id, message.chat, message.priority, message.max_attempts, message.on_unknown,
                message.due_at, message.expires_at, message.accepted_at, sha256, secrets={message.secret},
            )
        )  # fmt: skip

    @rule(picture=st.sampled_from(PICTURES))
    def hand_in_a_file(self, picture: bytes) -> None:
        self.keep_file(picture)

    def keep_file(self, picture: bytes) -> str:
        sha256 = self.do(self.store.keep_file(picture, now=self.now))
        self.naive.files[sha256] = self.now
        return sha256

    # --- workers ----------------------------------------------------------------------------------

    @rule(
        target=claims,
        worker=some_worker,
        limit=st.sampled_from([1, 1, 2, 5]),
        fair=st.sampled_from([False, False, True]),
    )
    def claim(self, worker: str, limit: int, *, fair: bool) -> MultipleResults[tuple[Claim, Entry]]:
        taken = self.do(self.store.claim(worker=worker, now=self.now, limit=limit, fair=fair))
        assert len(taken) <= limit
        held: list[tuple[Claim, Entry]] = []
        for claim in taken:
            expected = self.naive.claim(worker, fair=fair)
            assert expected is not None, "nobody may have it now"
            entry, behind = expected
            assert (claim.message.id, claim.behind) == (entry.id, behind)
            self.naive.move(entry, State.SENDING)
            entry.token, entry.worker = claim.token, worker
            held.append((claim, entry))
        if len(taken) < limit:
            assert self.naive.claim(worker, fair=fair) is None, "there was more"
        return multiple(*held)

    @rule(held=consumes(claims), how=st.sampled_from(SETTLINGS), wait_s=st.sampled_from([0.0, 2.0, 50.0]))
    def settle(self, held: tuple[Claim, Entry], how: str, wait_s: float) -> None:
        self.answer(held, how, wait_s)

    @rule(held=claims, how=st.sampled_from(SETTLINGS))
    def settle_and_once_more(self, held: tuple[Claim, Entry], how: str) -> None:
        self.answer(held, how, 1.0)
        with pytest.raises(ClaimLost):
            self.do(self.store.release(held[0], now=self.now))

    def answer(self, held: tuple[Claim, Entry], how: str, wait_s: float) -> None:
        claim, entry = held
        self.sends += 1
        whatsapp_id, until = f"w{self.sends}", self.now + wait_s
        lost = entry.token != claim.token
        with pytest.raises(ClaimLost) if lost else nullcontext():
            after = self.do(self.settling(claim, how, whatsapp_id=whatsapp_id, until=until))
        if not lost:
            retried = how == "fail" and entry.state is State.SENDING
            self.naive.settle(entry, how, whatsapp_id=whatsapp_id, until=until)
            self.agrees(entry, after, new_secret=retried and entry.state is State.QUEUED)

    def settling(
        self, claim: Claim, how: str, *, whatsapp_id: str, until: float
    ) -> Coroutine[Any, Any, Message]:
        match how:
            case "complete":
                return self.store.complete(claim, whatsapp_id=whatsapp_id, now=self.now)
            case "release":
                return self.store.release(claim, now=self.now)
            case "postpone":
                return self.store.postpone(claim, until=until, now=self.now)
            case "fail":
                return self.store.fail(
                    claim, result=SendResult.RETRYABLE, error="e", retry_at=until, now=self.now
                )
        return self.store.mark_unknown(claim, whatsapp_id=whatsapp_id, error="e", now=self.now)

    @rule(worker=some_worker)
    def rescue(self, worker: str) -> None:
        found = self.do(self.store.orphans(worker=worker))
        expected = [
            entry for entry in self.naive.entries if entry.state is State.SENDING and entry.worker != worker
        ]
        assert {claim.token for claim in found} == {entry.token for entry in expected}
        for claim in found:
            self.do(self.store.release(claim, now=self.now))
        for entry in expected:
            self.naive.settle(entry, "release", whatsapp_id="", until=0.0)

    # --- what comes back --------------------------------------------------------------------------

    @rule(ahead=st.integers(-4, 2), state=st.sampled_from([State.DELIVERED, State.READ]))
    def receive(self, ahead: int, state: State) -> None:
        whatsapp_id = f"w{self.sends + ahead}"
        moved = self.do(self.store.receive([whatsapp_id], state=state, at=self.now, now=self.now))
        assert [one.message.id for one in moved] == self.naive.receive(whatsapp_id, state)

    @rule(back=st.integers(0, 4))
    def resend(self, back: int) -> None:
        whatsapp_id = f"w{self.sends - back}"
        entry = self.naive.of(whatsapp_id)
        after = self.do(self.store.resend(whatsapp_id, now=self.now))
        if entry is None:
            assert after is None
            return
        before = entry.state
        self.naive.resend(entry)
        self.agrees(entry, after, new_secret=entry.state is not before)

    @rule()
    def resolve(self) -> None:
        unknown = self.do(self.store.unknowns())
        expected = [entry for entry in self.naive.entries if entry.state is State.UNKNOWN]
        assert [message.id for message in unknown] == [entry.id for entry in expected]
        for entry in expected[:1]:
            after = self.do(self.store.resolve_unknown(entry.id, now=self.now))
            self.naive.resolve(entry)
            self.agrees(entry, after, new_secret=entry.state is State.QUEUED)

    @rule(chat=st.sampled_from(CHATS), since_s=st.sampled_from([1.0, 30.0, DAY, 90 * DAY]))
    def heard(self, chat: str, since_s: float) -> None:
        self.do(self.store.heard(chat, at=self.now))
        self.naive.heard[chat] = self.now
        for each in CHATS:
            known = Acquaintance(self.naive.first_sent.get(each), self.naive.heard.get(each))
            assert self.do(self.store.acquaintance(each)) == known
        since = self.now - since_s
        assert self.do(self.store.strangers_since(since)) == self.naive.strangers(since)

    # --- people -----------------------------------------------------------------------------------

    @precondition(lambda self: self.naive.entries)
    @rule(which=some_entry, step=st.sampled_from(["cancel", "hold", "requeue", "requeue"]))
    def step_in(self, which: int, step: str) -> None:
        entry = self.entry(which)
        before = entry.state
        after = self.do(getattr(self.store, step)(entry.id, now=self.now))
        getattr(self.naive, step)(entry)
        self.agrees(entry, after, new_secret=step == "requeue" and entry.state is not before)

    @rule()
    def requeue_dead(self) -> None:
        dead = [entry for entry in self.naive.entries if entry.state is State.DEAD]
        assert self.do(self.store.requeue_dead(now=self.now)) == self.naive.requeue_dead()
        for entry in dead:
            self.agrees(entry, self.do(self.store.get(entry.id)), new_secret=True)

    @rule(
        states=st.frozensets(st.sampled_from(State), max_size=4),
        chat=st.sampled_from([None, *CHATS]),
        limit=st.integers(1, 5),
    )
    def look_through(self, states: frozenset[State], chat: str | None, limit: int) -> None:
        query, found = Query(states=states, chat=chat, limit=limit), []
        while True:
            page = self.do(self.store.find(query))
            found += [message.id for message in page.messages]
            if page.next is None:
                break
            query = replace(query, before=page.next)
        assert found == self.naive.listed(states, chat)

    @precondition(lambda self: self.naive.entries)
    @rule(which=st.lists(some_entry, min_size=1, max_size=3), token=st.sampled_from([1, 10_000]))
    def adopt(self, which: list[int], token: int) -> None:
        """Copies of messages under other ids, as of another store whose process was killed."""
        copies: list[Message] = []
        for entry in map(self.entry, which):
            original = self.do(self.store.get(entry.id))
            assert original is not None
            sending = entry.state is State.SENDING
            twin = replace(entry, id=str(uuid7()), secrets=set(entry.secrets), token=None)
            if sending:
                twin.token, twin.worker = token + len(copies), "gone"
            if twin.whatsapp_id is not None:
                self.sends += 1
                twin.whatsapp_id = f"w{self.sends}"
                self.naive.early.pop(twin.whatsapp_id, None)
            copies.append(
                replace(
                    original, id=twin.id, claim_token=twin.token, worker=twin.worker,
                    whatsapp_id=twin.whatsapp_id,
                )
            )  # fmt: skip
            self.naive.entries.append(twin)
            assert self.do(self.store.adopt([original, copies[-1]], now=self.now)) == 1
        assert self.do(self.store.adopt(copies, now=self.now)) == 0

    # --- time and trouble -------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 3.0, 3.0, 20.0, 20.0, HOUR, 2 * DAY, 31 * DAY]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def expire(self) -> None:
        assert self.do(self.store.expire(now=self.now)) == self.naive.expire()

    @rule()
    def prune(self) -> None:
        files = set(self.naive.files)
        assert self.do(self.store.prune(now=self.now)) == self.naive.prune()
        kept = {sha256 for sha256 in files if self.do(self.store.file(sha256)) is not None}
        assert kept == set(self.naive.files)

    @rule()
    def restart(self) -> None:
        self.do(self.store.close())
        self.open()

    @rule()
    def crash(self) -> None:
        self.do(self.world.crash(self.store))
        self.open()

    # --- always -----------------------------------------------------------------------------------

    def entry(self, which: int) -> Entry:
        return self.naive.entries[which % len(self.naive.entries)]

    def agrees(self, entry: Entry, message: Message | None, *, new_secret: bool) -> None:
        """The store's message is as the naive one, and no secret is used for two attempts."""
        assert message is not None
        for name in (
            "id",
            "state",
            "attempts",
            "resends",
            "due_at",
            "expires_at",
            "finished_at",
            "whatsapp_id",
        ):
            assert getattr(message, name) == getattr(entry, name), name
        assert (message.secret not in entry.secrets) == new_secret
        entry.secrets.add(message.secret)

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "store"):
            return
        counts = self.store.counts()
        for state in State:
            assert counts[state] == sum(entry.state is state for entry in self.naive.entries), state
        assert self.store.oldest_queued_at() == self.naive.oldest()
        lanes, written = self.do(self.world.written())
        assert lanes == len({e.chat for e in self.naive.entries if e.state in {State.QUEUED, State.UNKNOWN}})
        assert written == {state: n for state, n in counts.items() if n}

    @invariant()
    def tells_when_to_look_again(self) -> None:
        if not hasattr(self, "store"):
            return
        waiting = [min(head.due_at, head.expires_at) for head in self.naive.heads(WORKERS[0])]
        later = [at for at in waiting if at > self.now]
        due = self.do(self.store.next_due())
        assert not later or (due is not None and due <= min(later))


@pytest.mark.timeout(120 + EXAMPLES)
def test_sqlite_agrees_with_a_naive_queue() -> None:
    class OnSqlite(Machine):
        def __init__(self) -> None:
            super().__init__(SqliteWorld())

    run_state_machine_as_test(OnSqlite, settings=SETTINGS)


@pytest.mark.timeout(120 + 2 * EXAMPLES)
def test_postgresql_agrees_with_a_naive_queue(queue_url: str) -> None:
    class OnPostgres(Machine):
        def __init__(self) -> None:
            super().__init__(PostgresWorld(queue_url))

    run_state_machine_as_test(OnPostgres, settings=SETTINGS)

"""A SQLite queue carried into another store: everything, in order, once, whatever is killed on the way."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from service.engine.content import File, Image
from service.errors import StoreMoved, StoreUnavailable
from service.queue.model import (
    Acquaintance,
    Cooldown,
    Cooling,
    Message,
    NewMessage,
    OnUnknown,
    Query,
    SendResult,
    State,
)
from service.queue.move import Moved, left_behind, move
from service.queue.sqlite import SqliteStore
from service.queue.store import QueueStore
from tests.clock import FakeClock
from tests.component.postgres import Postgres
from tests.component.queue.conftest import ACCOUNT, STORES
from tests.component.queue.moves_until_killed import sqlite_store, store_at
from tests.component.queue.support import claimed, keep, to
from tests.people import ANN, BEN, CLEO

ROOT = Path(__file__).parents[3]
HOUR = 3600.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file that is moved."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder / "queue.db"


@pytest.fixture
async def source(path: Path, clock: FakeClock) -> AsyncIterator[SqliteStore]:
    """A queue in the middle of its work; closed before it is moved."""
    store = sqlite_store(path, clock)
    await store.open()
    yield store
    await store.close()


async def fill(store: QueueStore, clock: FakeClock) -> list[Message]:
    """A message in every state, some with files; what the store then has, the earliest first."""
    now = clock.now()
    files = [await store.keep_file(data, now=now) for data in (b"picture", b"unnamed")]
    image = Image(file=File(sha256=files[0], media_type="image/png", size_bytes=7))
    await keep(store, NewMessage(chat=f"{ANN}@s.whatsapp.net", content=image, idempotency_key="k"), now=now)
    await keep(store, *(to(f"1555000{i:04}", f"{i}") for i in range(8)), now=now)
    claims = [await claimed(store, now=now, worker="of the session/1") for _ in range(7)]
    await store.complete(claims[0], whatsapp_id="w0", now=now)
    await store.complete(claims[1], whatsapp_id="w1", now=now)
    await store.receive(["w1"], state=State.DELIVERED, at=now, now=now)
    await store.complete(claims[2], whatsapp_id="w2", now=now)
    await store.receive(["w2"], state=State.READ, at=now, now=now)
    await store.mark_unknown(claims[3], whatsapp_id=None, error="e", now=now)
    await store.fail(claims[4], result=SendResult.PERMANENT, error="e", retry_at=None, now=now)
    await store.fail(claims[5], result=SendResult.RETRYABLE, error="e", retry_at=now + HOUR, now=now)
    held, cancelled = await keep(store, to(BEN), to(CLEO, on_unknown=OnUnknown.HOLD), now=now)
    await store.hold(held.id, now=now)
    await store.cancel(cancelled.id, now=now)
    await keep(store, to(ANN, "last", expires_at=now + 1), now=now)
    await store.expire(now=now + 1)
    await store.receive(["early"], state=State.DELIVERED, at=now, now=now)
    await store.heard(f"{BEN}@s.whatsapp.net", at=now)
    await store.cool(Cooling.STRANGERS, Cooldown(now + HOUR, 2))
    found = (await store.find(Query(limit=1000))).messages[::-1]
    assert {message.state for message in found} == set(State)
    return found


async def everything(store: QueueStore) -> list[Message]:
    """What the store has, the earliest first, under seqs that say nothing."""
    return [replace(m, seq=0) for m in (await store.find(Query(limit=10_000))).messages[::-1]]


def as_kept(messages: list[Message]) -> list[Message]:
    return [replace(message, seq=0) for message in messages]


# --- what is carried ----------------------------------------------------------------------------------


async def test_everything_is_carried_as_it_is_and_in_order(
    source: SqliteStore, path: Path, store: QueueStore, clock: FakeClock
) -> None:
    before = await fill(source, clock)
    await source.close()
    told: list[tuple[int, int]] = []
    moved = await move(
        path, store, account=ACCOUNT, clock=clock, progress=lambda *at: told.append(at), batch=5
    )

    assert await everything(store) == as_kept(before)
    assert moved == Moved(
        messages=12, present=0, files=2, chats=4, kept_as="queue.db.moved", other_accounts=()
    )
    assert told == [(5, 12), (10, 12), (12, 12)]
    counts = store.counts()
    assert {state: counts[state] for state in State} == {
        state: sum(message.state is state for message in before) for state in State
    }


async def test_a_claim_is_carried_so_that_its_secret_can_still_be_looked_up(
    source: SqliteStore, path: Path, store: QueueStore, clock: FakeClock
) -> None:
    (sending,) = [message for message in await fill(source, clock) if message.state is State.SENDING]
    await source.close()
    await move(path, store, account=ACCOUNT, clock=clock)

    (orphan,) = await store.orphans(worker="new")
    assert (orphan.message.id, orphan.message.secret, orphan.message.worker, orphan.token) == (
        sending.id, sending.secret, "of the session/1", sending.claim_token,
    )  # fmt: skip
    (unknown,) = await store.unknowns()
    assert unknown.state is State.UNKNOWN


async def test_what_lies_beside_the_messages_is_carried(
    source: SqliteStore, path: Path, store: QueueStore, clock: FakeClock
) -> None:
    before = await fill(source, clock)
    image = before[0].content
    assert isinstance(image, Image)
    unnamed = await source.keep_file(b"unnamed", now=clock.now())
    sent = f"{ANN}@s.whatsapp.net"
    await source.close()
    await store.cool(Cooling.UNASKED, Cooldown(1.0, 1))
    await store.cool(Cooling.STRANGERS, Cooldown(2.0, 1))
    await move(path, store, account=ACCOUNT, clock=clock)

    assert await store.file(image.file.sha256) == b"picture"
    assert await store.file(unnamed) == b"unnamed"
    assert await store.acquaintance(f"{BEN}@s.whatsapp.net") == Acquaintance(None, clock.now())
    assert await store.acquaintance(sent) == Acquaintance(clock.now(), None)
    assert await store.cooldowns() == {
        Cooling.UNASKED: Cooldown(1.0, 1),
        Cooling.STRANGERS: Cooldown(clock.now() + HOUR, 2),
    }
    (kept,) = await keep(store, to("15559990000"), now=clock.now())
    claim = await claimed(store, now=clock.now())
    message = await store.complete(claim, whatsapp_id="early", now=clock.now())
    assert message.state is State.DELIVERED, "its receipt had come before its send returned"
    assert kept.id != before[0].id


async def test_a_key_that_was_handed_in_again_meanwhile_sends_nothing_twice(
    source: SqliteStore, path: Path, store: QueueStore, clock: FakeClock
) -> None:
    await keep(source, to(ANN, idempotency_key="k"), to(BEN), now=clock.now())
    await source.close()
    (first,) = await keep(store, to(ANN, idempotency_key="k"), now=clock.now())
    moved = await move(path, store, account=ACCOUNT, clock=clock)

    assert (moved.messages, moved.present) == (1, 1)
    assert [message.chat for message in await everything(store)] == [first.chat, f"{BEN}@s.whatsapp.net"]


# --- the source ---------------------------------------------------------------------------------------


async def test_the_source_is_kept_whole_under_another_name_and_never_over_another_file(
    source: SqliteStore, path: Path, store: QueueStore, clock: FakeClock
) -> None:
    before = await fill(source, clock)
    await source.close()
    path.with_name("queue.db.moved").write_bytes(b"an earlier one")
    moved = await move(path, store, account=ACCOUNT, clock=clock)

    assert moved.kept_as == "queue.db.moved-2"
    assert {file.name for file in path.parent.iterdir()} == {"queue.db.moved", "queue.db.moved-2"}
    assert path.with_name("queue.db.moved").read_bytes() == b"an earlier one"
    with closing(sqlite3.connect(path.with_name("queue.db.moved-2"))) as look:
        assert look.execute("SELECT count(*) FROM message").fetchone() == (len(before),)


async def test_without_a_source_there_is_nothing_to_move(
    path: Path, store: QueueStore, clock: FakeClock
) -> None:
    moved = await move(path, store, account=ACCOUNT, clock=clock)
    assert (moved.messages, moved.kept_as) == (0, None)
    assert not path.exists()


async def test_a_queue_that_was_carried_is_not_served_from_its_file_again(
    source: SqliteStore, path: Path, store: QueueStore, clock: FakeClock
) -> None:
    await keep(source, to(ANN), now=clock.now())
    await source.close()
    moved = await move(path, store, account=ACCOUNT, clock=clock)
    assert moved.kept_as is not None
    path.with_name(moved.kept_as).rename(path)

    with pytest.raises(StoreMoved, match="beacon queue move"):
        await sqlite_store(path, clock).open()


async def test_another_accounts_messages_stay_where_they_are(
    source: SqliteStore, path: Path, store: QueueStore, clock: FakeClock
) -> None:
    await keep(source, to(ANN), now=clock.now())
    await source.close()
    other = sqlite_store(path, clock, account="other")
    await other.open()
    await keep(other, to(BEN), now=clock.now())
    await other.close()

    moved = await move(path, store, account=ACCOUNT, clock=clock)
    assert (moved.messages, moved.kept_as, moved.other_accounts) == (1, None, ("other",))
    await (again := sqlite_store(path, clock, account="other")).open()
    assert again.counts()[State.QUEUED] == 1
    await again.close()


async def test_somebody_who_looks_into_the_file_delays_the_end_and_loses_nothing(
    source: SqliteStore, path: Path, store: QueueStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.queue.sqlite_connection.BUSY_TIMEOUT_S", 0.05)
    (kept,) = await keep(source, to(ANN), now=clock.now())
    await source.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM message").fetchone()
        with pytest.raises(StoreUnavailable, match="another program"):
            await move(path, store, account=ACCOUNT, clock=clock)
    moved = await move(path, store, account=ACCOUNT, clock=clock)
    assert (moved.messages, moved.kept_as) == (0, "queue.db.moved")
    assert [message.id for message in await everything(store)] == [kept.id]


@pytest.mark.parametrize("state", State, ids=lambda state: state.value)
async def test_what_has_somewhere_to_go_is_known_to_be_left_behind(
    source: SqliteStore, path: Path, store: QueueStore, clock: FakeClock, state: State
) -> None:
    assert left_behind(path.with_name("no.db"), ACCOUNT) == 0
    before = await fill(source, clock)
    await source.close()
    with closing(sqlite3.connect(path)) as only:
        only.execute("DELETE FROM message WHERE state <> ?", (state.value,))
        only.commit()
    left = sum(message.state is state for message in before)

    waits = state in {State.QUEUED, State.SENDING, State.UNKNOWN, State.HELD}
    assert left_behind(path, ACCOUNT) == (left if waits else 0)
    assert left_behind(path, "other") == 0
    await move(path, store, account=ACCOUNT, clock=clock)
    assert left_behind(path, ACCOUNT) == 0


# --- killed -------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


class Mortal:
    """A target whose process dies before or after its nth call took effect."""

    def __init__(self, target: QueueStore, *, at: int, after: bool) -> None:
        self._target = target
        self._left = at
        self._after = after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left < 0 and not self._after:
                raise Killed
            answer = await method(*arguments, **options)
            if self._left < 0:
                raise Killed
            return answer

        return call


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_killed_around_any_step_and_run_again_nothing_is_lost_or_doubled(
    source: SqliteStore, path: Path, store: QueueStore, clock: FakeClock, *, after: bool
) -> None:
    before = await fill(source, clock)
    await source.close()
    kills, moved = 0, None
    while moved is None:
        mortal: Any = Mortal(store, at=kills % 7, after=after)
        try:
            moved = await move(path, mortal, account=ACCOUNT, clock=clock, batch=2)
        except Killed:
            kills += 1
            assert kills < 100
            with pytest.raises(StoreMoved):
                await sqlite_store(path, clock).open()
    assert kills >= 6, "it died at every step of a run"
    assert moved.kept_as == "queue.db.moved"
    assert await everything(store) == as_kept(before)
    assert store.counts()[State.QUEUED] == sum(message.state is State.QUEUED for message in before)


KILLS = int(os.environ.get("BEACON_KILLS", "5"))


@pytest.fixture(params=STORES)
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Path or URL of an empty store."""
    if request.param == "sqlite":
        return str(tmp_path / "target.db")
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.url(await postgres.create())


@pytest.mark.timeout(120 + 5 * KILLS)
async def test_killed_with_sigkill_at_random_and_run_again_nothing_is_lost_or_doubled(
    source: SqliteStore, path: Path, target: str, clock: FakeClock
) -> None:
    rng = Random(7)
    before = await fill(source, clock)
    for i in range(10 * KILLS):
        before += await keep(source, *(to(f"1555{j:07}", f"{i}") for j in range(10)), now=clock.now())
    await source.close()

    for _ in range(KILLS):
        with run(path, target) as process:
            assert process.stdout is not None
            for _ in range(rng.randint(0, 12)):
                await asyncio.to_thread(process.stdout.readline)
            process.send_signal(signal.SIGKILL)
    with run(path, target) as process:
        assert process.stdout is not None
        *_, last = (await asyncio.to_thread(process.stdout.read)).splitlines()
    assert process.returncode == 0
    assert last == "queue.db.moved"

    store = store_at(target, clock)
    await store.open()
    try:
        assert await everything(store) == as_kept(before)
    finally:
        await store.close()


def run(path: Path, target: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.component.queue.moves_until_killed", str(path), target],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

"""What pacing has to remember is remembered by both stores, across restarts."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from service.config import DAY_S, Seconds
from service.queue.model import NewMessage
from service.queue.pace.limits import Limits
from service.queue.pace.metrics import PaceMetrics
from service.queue.pace.pacer import Paced
from service.queue.pace.strangers import RESOLUTION_S
from service.queue.store import QueueStore
from tests.clock import FakeClock
from tests.component.queue.conftest import MakeStore
from tests.component.queue.support import claimed, keep, to
from tests.people import ANN, BEN, CLEO

GROUP = "120363000000000001@g.us"
LIMITS = Limits(
    send_rate=6000,
    send_burst=1000,
    chat_gap=Seconds(0, 0),
    new_chats_per_day=2,
    new_chat_gap=Seconds(0, 0),
    quiet_hours=None,
    zone=UTC,
)


@dataclass
class Process:
    """A store, opened, and a pacer on it."""

    store: QueueStore
    pacer: Paced
    clock: FakeClock

    async def goes_out(self, message: NewMessage) -> bool:
        """Whether a message goes out at once; one that does not is taken back."""
        self.clock.advance(1)
        (kept,) = await keep(self.store, message, now=self.clock.now())
        claim = await claimed(self.store, now=self.clock.now())
        assert claim.message.id == kept.id
        if await self.pacer.not_before(claim.message) is not None:
            await self.store.release(claim, now=self.clock.now())
            await self.store.cancel(kept.id, now=self.clock.now())
            return False
        await self.store.complete(claim, whatsapp_id=f"w-{kept.id}", now=self.clock.now())
        self.pacer.sent(claim.message)
        return True


Begin = Callable[[], Awaitable[Process]]


@pytest.fixture
async def begin(make_store: MakeStore, clock: FakeClock) -> AsyncIterator[Begin]:
    """Begins a process, and ends the one before."""
    async with AsyncExitStack() as stack:

        async def anew() -> Process:
            await stack.aclose()
            store = make_store()
            await store.open()
            stack.push_async_callback(store.close)
            metrics = PaceMetrics(CollectorRegistry(), "default")
            pacer = Paced(limits=LIMITS, store=store, clock=clock, rng=Random(1), metrics=metrics)
            await pacer.open()
            return Process(store, pacer, clock)

        yield anew


async def test_the_places_of_strangers_stay_taken_for_a_day_whatever_restarts(
    begin: Begin, clock: FakeClock
) -> None:
    assert await (await begin()).goes_out(to(ANN))
    assert await (await begin()).goes_out(to(BEN))
    process = await begin()
    assert not await process.goes_out(to(CLEO))
    assert await process.goes_out(to(ANN)), "no stranger twice"
    clock.advance(DAY_S / 2)
    assert not await (await begin()).goes_out(to(CLEO))
    clock.advance(DAY_S / 2 + RESOLUTION_S)
    assert await (await begin()).goes_out(to(CLEO))


async def test_who_wrote_to_us_is_known_after_a_restart_by_whichever_name(begin: Begin) -> None:
    process = await begin()
    assert await process.goes_out(to(ANN))
    assert await process.goes_out(to(BEN))
    await process.pacer.heard("101000000000001@lid", (f"{CLEO}@s.whatsapp.net",), process.clock.now())
    process = await begin()
    assert await process.goes_out(to(CLEO))
    assert await process.goes_out(replace(to(CLEO), chat="101000000000001@lid"))


async def test_a_group_takes_no_stranger_s_place(begin: Begin) -> None:
    process = await begin()
    assert await process.goes_out(replace(to(ANN), chat=GROUP))
    assert await process.goes_out(to(ANN))
    process = await begin()
    assert await process.goes_out(to(BEN))
    assert not await (await begin()).goes_out(to(CLEO))


async def test_a_cool_down_outlives_the_process_and_grows_with_the_next_one(begin: Begin) -> None:
    process = await begin()
    (kept,) = await keep(process.store, to(ANN), now=process.clock.now())
    await process.pacer.refused(kept, "reachout_timelocked")
    await process.store.cancel(kept.id, now=process.clock.now())
    process = await begin()
    assert not await process.goes_out(to(BEN))
    process.clock.advance(1.1 * DAY_S)
    await process.pacer.refused(kept, "reachout_timelocked")
    process = await begin()
    process.clock.advance(6.9 * DAY_S)
    assert not await process.goes_out(to(BEN))
    process.clock.advance(DAY_S)
    assert await process.goes_out(to(BEN))

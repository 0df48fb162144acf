"""The dispatcher with the real pacer on the real store: what WhatsApp refuses once is not tried again."""

from datetime import UTC
from functools import partial
from itertools import pairwise
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from service.config import Seconds
from service.queue.model import Cooling, State
from service.queue.pace.contract import Pacer
from service.queue.pace.limits import Limits
from service.queue.pace.metrics import PaceMetrics
from service.queue.pace.pacer import Paced
from service.queue.sqlite import SqliteStore
from tests.clock import FakeClock
from tests.component.queue.dispatching.harness import Queue
from tests.component.queue.support import to
from tests.people import ANN, BEN, CLEO

GAP_S = 10.0


@pytest.fixture
def pacer(store: SqliteStore, clock: FakeClock, registry: CollectorRegistry) -> Pacer:
    limits = Limits(
        send_rate=60,
        send_burst=1,
        chat_gap=Seconds(GAP_S, GAP_S),
        new_chats_per_day=100,
        new_chat_gap=Seconds(0, 0),
        quiet_hours=None,
        zone=UTC,
    )
    metrics = PaceMetrics(registry, "default")
    return Paced(limits=limits, store=store, clock=clock, rng=Random(1), metrics=metrics)


async def test_after_463_strangers_wait_and_those_who_wrote_to_us_do_not(queue: Queue, pacer: Pacer) -> None:
    queue.dispatcher.connected()
    await queue.settle_down()
    await pacer.heard(f"{CLEO}@s.whatsapp.net", (), queue.clock.now())
    (refused,) = await queue.post(to(ANN, "to a stranger"))
    queue.engine.fail(await queue.engine.nth(1), "server returned error 463")
    await queue.state(refused, State.QUEUED)

    queue.engine.acknowledges = True
    await queue.post(to(BEN, "to another stranger"), to(CLEO, "a reply"))
    await queue.time_passes_until(lambda: queue.store.counts()[State.SENT] == 1, "the reply goes out")
    await queue.pass_time(600, step_s=5)
    assert queue.engine.texts == ["to a stranger", "a reply"]
    cooldown = (await queue.store.cooldowns())[Cooling.STRANGERS]
    assert cooldown.until >= queue.clock.now() + 86_400 - 700


async def test_messages_to_one_chat_go_out_one_by_one_with_a_pause_between(queue: Queue) -> None:
    queue.engine.acknowledges = True
    queue.dispatcher.connected()
    await queue.post(*(to(ANN, str(n)) for n in range(4)))
    times: list[float] = []
    for number in range(1, 5):
        await queue.time_passes_until(partial(queue.engine.has, number), f"send {number}")
        times.append(queue.clock.monotonic())
    assert queue.engine.texts == ["0", "1", "2", "3"]
    for earlier, later in pairwise(times):
        assert later - earlier >= GAP_S


async def test_the_rate_of_the_account_holds_for_messages_at_hand_too(queue: Queue) -> None:
    queue.engine.acknowledges = True
    queue.dispatcher.connected()
    await queue.post(*(to(f"1202555{n:04}", str(n)) for n in range(30)))
    began = queue.clock.monotonic()
    while (sent := len(queue.engine.sends)) < 30:
        assert sent <= 1 + (queue.clock.monotonic() - began) + 1
        await queue.pass_time(0.5, step_s=0.5)
        assert queue.clock.monotonic() - began < 120

"""Without a database: DATA_DIR's lock excludes others, and the fence grows with every start."""

import asyncio
from pathlib import Path

from prometheus_client import CollectorRegistry

from service.reconnect.lease import WRITE_AGAIN_S, LocalLease
from service.reconnect.lease_metrics import Hindrance, LeaseMetrics
from tests.clock import FakeClock


async def test_the_fence_grows_with_every_holder_and_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "fence"
    lease = LocalLease(path)
    assert lease.fence is None
    fences = [await lease.acquire(), await lease.acquire()]
    await lease.release()
    assert lease.fence is None
    fences.append(await LocalLease(path).acquire())
    assert fences == [1, 2, 3]


async def test_a_held_lease_is_not_lost(tmp_path: Path) -> None:
    lease = LocalLease(tmp_path / "fence")
    await asyncio.wait_for(lease.lost(), 5)  # not held yet
    await lease.acquire()
    losing = asyncio.create_task(lease.lost())
    await asyncio.wait({losing}, timeout=0)
    assert not losing.done()
    losing.cancel()


async def test_giving_up_what_is_not_held_is_no_error(tmp_path: Path) -> None:
    await LocalLease(tmp_path / "fence").release()


async def test_a_fence_that_cannot_be_written_is_told_and_tried_again(tmp_path: Path) -> None:
    registry, clock, told = CollectorRegistry(), FakeClock(), asyncio.Queue[Hindrance]()
    path = tmp_path / "not yet" / "fence"
    lease = LocalLease(path, clock=clock, metrics=LeaseMetrics(registry, "default"))
    acquiring = asyncio.create_task(lease.acquire(told.put_nowait))

    assert await told.get() is Hindrance.DATA_DIR
    hindered = {"account": "default", "hindrance": "data_dir"}
    assert registry.get_sample_value("whatsapp_lease_hindered", hindered) == 1

    path.parent.mkdir()
    clock.advance(WRITE_AGAIN_S)
    assert await acquiring == 1
    assert registry.get_sample_value("whatsapp_lease_hindered", hindered) == 0
    assert registry.get_sample_value("whatsapp_lease_held", {"account": "default"}) == 1
    await lease.release()
    assert registry.get_sample_value("whatsapp_lease_held", {"account": "default"}) == 0


async def test_a_damaged_counter_is_never_taken_for_a_small_number(tmp_path: Path) -> None:
    path, told = tmp_path / "fence", asyncio.Queue[Hindrance]()
    path.write_text("not a number")
    acquiring = asyncio.create_task(LocalLease(path, clock=FakeClock()).acquire(told.put_nowait))
    assert await told.get() is Hindrance.DATA_DIR
    acquiring.cancel()
    assert path.read_text() == "not a number"

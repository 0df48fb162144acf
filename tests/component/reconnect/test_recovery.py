"""Outages of a real client's link: how many logins they cost, and how little is left to do at their end."""

import time
from pathlib import Path

import pytest
import structlog

from service.reconnect.reason import Reason
from service.reconnect.status import State
from service.simulator.server import Simulator
from tests.component.reconnect.conftest import Account, living
from tests.people import BEACON

log = structlog.get_logger(__name__)

GRACE_S = 20


def logins(account: Account) -> int:
    """Login attempts that have ended, however."""
    results = ("connected", "abandoned", "network", "whatsapp", "account", "engine")
    return int(sum(account.metric("whatsapp_connect_attempts_total", result=r) or 0 for r in results))


def link_is_cut(account: Account) -> None:
    account.simulator.faults.refuse()
    account.simulator.faults.cut()


async def test_an_outage_of_a_second_is_over_without_a_login_of_ours(account: Account) -> None:
    await account.online()
    before = logins(account)
    link_is_cut(account)
    await account.until_reason(Reason.CONNECTION_LOST)
    account.simulator.faults.heal()
    began = time.monotonic()
    await account.until_state(State.CONNECTED)
    assert await account.sends()
    assert logins(account) == before
    log.info("recovered", outage_s=1, logins_meanwhile=0, sent_after_s=round(time.monotonic() - began, 2))


@pytest.mark.parametrize("outage_s", [30, 300])
async def test_a_longer_outage_costs_one_login_and_only_that_is_left_at_its_end(
    account: Account, outage_s: int
) -> None:
    await account.online()
    before = logins(account)
    link_is_cut(account)
    await account.until_reason(Reason.CONNECTION_LOST)
    await account.passes(GRACE_S)
    await account.until_reason(Reason.NO_RECONNECT)
    await account.engines[-1].wait()
    await account.passes(2)
    await account.until_reason(Reason.NETWORK_UNREACHABLE)
    await account.stands_by()
    for _ in range(outage_s - GRACE_S - 2):
        await account.passes(1)
    meanwhile = logins(account) - before
    assert meanwhile == 0, "no login while WhatsApp cannot be reached"
    await account.waits(1)
    engines = len(account.engines)
    account.simulator.faults.heal()
    began = time.monotonic()
    await account.passes(1)
    await account.until_state(State.CONNECTED)
    assert await account.sends()
    assert len(account.engines) == engines, "the engine has been started in the outage"
    assert logins(account) == before + 1
    took_s = round(time.monotonic() - began, 2)
    log.info("recovered", outage_s=outage_s, logins_meanwhile=meanwhile, sent_after_s=took_s)


async def test_a_ban_is_waited_out_by_the_next_process(simulator: Simulator, tmp_path: Path) -> None:
    async with living(simulator, tmp_path) as first:
        await first.online()
        simulator.faults.end_login("temporary_ban_101", BEACON)
        await first.supervisor.restart()
        told = await first.until_state(State.BANNED)
    async with living(simulator, tmp_path) as second:
        kept = await second.until_state(State.BANNED)
        assert kept.reason == told.reason == Reason.BAN_STRANGERS
        assert kept.next_attempt_at is not None
        assert not second.engines
        await second.passes(kept.next_attempt_at - second.clock.now())
        await second.until_state(State.CONNECTED)


async def test_a_real_engine_over_the_limit_is_replaced_once(simulator: Simulator, tmp_path: Path) -> None:
    async with living(simulator, tmp_path, memory_limit_bytes=1) as account:
        await account.pair()
        await account.until_reason(Reason.MEMORY_LIMIT)
        await account.passes(4)  # the pairing is too recent for a login at once
        await account.until_state(State.CONNECTED)
        assert account.metric("whatsapp_engine_recycles_total", reason="memory_limit") == 1
        assert await account.sends()

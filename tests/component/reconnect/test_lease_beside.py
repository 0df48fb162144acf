"""A command owns the account while it works, and takes it from nobody."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from service.clock import SystemClock
from service.errors import AccountInUse, StoreError, StoreUnavailable
from service.reconnect.lease_beside import held_beside
from service.reconnect.lease_metrics import LeaseMetrics
from service.reconnect.lease_postgres import PostgresLease
from tests.component.postgres import Postgres

ACCOUNT = "default"


@pytest.fixture
async def url(postgres: Postgres) -> str:
    return postgres.url(await postgres.create())


def service_lease(url: str) -> PostgresLease:
    """That of a service."""
    metrics = LeaseMetrics(CollectorRegistry(), ACCOUNT)
    return PostgresLease(url, account=ACCOUNT, clock=SystemClock(), metrics=metrics)


async def test_it_counts_as_an_owner_and_lets_go_however_it_ends(url: str) -> None:
    async with held_beside(url, account=ACCOUNT, clock=SystemClock()) as fence:
        assert fence == 1
    with pytest.raises(ValueError, match="the work failed"):
        async with held_beside(url, account=ACCOUNT, clock=SystemClock()):
            raise ValueError("the work failed")
    service = service_lease(url)
    assert await service.acquire() == 3
    await service.release()


async def test_a_service_that_runs_keeps_the_account(url: str) -> None:
    service = service_lease(url)
    fence = await service.acquire()
    with pytest.raises(AccountInUse, match="ACCOUNT=default: a service that runs, perhaps elsewhere, has it"):
        async with held_beside(url, account=ACCOUNT, clock=SystemClock()):
            pytest.fail("it must not be held")
    assert service.fence == fence
    async with held_beside(url, account="another", clock=SystemClock()) as other:
        assert other == 1, "an account of its own"
    await service.release()


async def test_a_service_that_is_stopping_is_waited_for(url: str) -> None:
    service = service_lease(url)
    first = await service.acquire()

    async def work() -> int:
        async with held_beside(url, account=ACCOUNT, clock=SystemClock()) as fence:
            return fence

    working = asyncio.create_task(work())
    await asyncio.wait({working}, timeout=0.1)
    assert not working.done()
    await service.release()
    assert await working == first + 1


async def test_a_database_that_says_no_is_not_one_that_is_away(postgres: Postgres) -> None:
    with pytest.raises(StoreError, match="gives no lease") as refused:
        async with held_beside(postgres.url("nowhere"), account=ACCOUNT, clock=SystemClock()):
            pytest.fail("it must not be held")
    assert not isinstance(refused.value, StoreUnavailable)
    assert refused.value.exit_code != StoreUnavailable.exit_code

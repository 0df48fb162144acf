"""The lease for a command beside the service: held while it works, and hardly waited for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import CollectorRegistry

from service.clock import Clock
from service.errors import AccountInUse, BeaconError, StoreError, StoreUnavailable
from service.reconnect.lease_metrics import Hindrance, LeaseMetrics
from service.reconnect.lease_postgres import TTL_S, PostgresLease

PATIENCE_S: Final = 4.0
"""A service that gives the lease up is heard at once; one that runs would be waited for in vain."""


@asynccontextmanager
async def held_beside(url: str, *, account: str, clock: Clock) -> AsyncIterator[int]:
    """Own the account while the block runs, under the lease of that number.

    The block goes on when the lease is lost, as on a machine that was suspended: what it changes, it must
    change under the number. Raises AccountInUse when another process has the lease, StoreUnavailable when the
    database does not answer, StoreError when it refuses.
    """
    lease = PostgresLease(
        url, account=account, clock=clock, metrics=LeaseMetrics(CollectorRegistry(), account)
    )
    met = [Hindrance.UNREACHABLE]  # until it says something else
    try:
        try:
            async with asyncio.timeout(PATIENCE_S):
                fence = await lease.acquire(met.append)
        except TimeoutError:
            raise _because(met[-1], account) from None
        yield fence
    finally:
        await lease.release()


def _because(hindrance: Hindrance, account: str) -> BeaconError:
    match hindrance:
        case Hindrance.HELD_ELSEWHERE:
            return AccountInUse(
                f"ACCOUNT={account}: a service that runs, perhaps elsewhere, has it; stop it first. One that "
                f"was killed lets go after {TTL_S:g} s"
            )
        case Hindrance.UNREACHABLE:
            return StoreUnavailable("DATABASE_URL: the database does not answer; `beacon doctor` says more")
        case _:
            return StoreError("DATABASE_URL: the database gives no lease; `beacon doctor` says more")

"""What every component test may ask for."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from service.simulator.server import Simulator
from tests.component.postgres import Postgres
from tests.ports import free_port


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    """A WhatsApp server of this test's own."""
    async with Simulator(tmp_path / "simulator", port=free_port()) as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for all tests of this process; who kills or pauses it starts it again.

    It does nothing by itself: tests look at its numbers and plans.
    """
    with Postgres(autovacuum="off") as running:
        yield running

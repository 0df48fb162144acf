"""What every component test may ask for."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.simulator.server import Simulator


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    """A WhatsApp server of this test's own."""
    async with Simulator(tmp_path / "simulator") as running:
        yield running

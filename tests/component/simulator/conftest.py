"""Ann and Ben, not paired yet."""

from pathlib import Path

import pytest

from service.simulator.server import Simulator
from tests.component.simulator.person import Person
from tests.people import ANN, BEN


@pytest.fixture
def ann(simulator: Simulator, tmp_path: Path) -> Person:
    return Person(simulator, ANN, tmp_path)


@pytest.fixture
def ben(simulator: Simulator, tmp_path: Path) -> Person:
    return Person(simulator, BEN, tmp_path)

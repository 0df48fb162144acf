"""From measured rounds to figures: what one round measured is compared, the median over rounds counts."""

import statistics
from collections.abc import Sequence
from typing import Final

MIB: Final = 1 << 20


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over rounds of ours to theirs."""
    return round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 2)


def whole(rates: Sequence[float]) -> list[int]:
    """Rates without their noise."""
    return [round(rate) for rate in rates]


def mb(size_bytes: float) -> float:
    """Mebibytes with one decimal."""
    return round(size_bytes / MIB, 1)

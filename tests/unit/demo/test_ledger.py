"""The counting of the check: it must see what is lost, doubled or late."""

from types import SimpleNamespace
from typing import cast

import pytest

from service.demo.ledger import Ledger
from service.demo.people import Contact

ACCEPTED = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("inbox", "delivered", "duplicates", "out_of_order"),
    [
        pytest.param(["a", "b", "c", "d"], 4, 0, 0, id="as-accepted"),
        pytest.param(["a", "c", "d"], 3, 0, 0, id="one-lost"),
        pytest.param(["a", "b", "b", "c", "d"], 4, 1, 0, id="one-twice"),
        pytest.param(["a", "b", "a", "c", "d", "a"], 4, 2, 0, id="one-three-times-is-no-disorder"),
        pytest.param(["a", "c", "b", "d"], 4, 0, 1, id="one-late"),
        pytest.param(["d", "c", "b", "a"], 4, 0, 3, id="all-turned-round"),
        pytest.param(["a", "something else", "b"], 2, 0, 0, id="what-was-not-ours"),
        pytest.param([], 0, 0, 0, id="nothing"),
    ],
)
def test_what_arrived_is_held_against_what_was_accepted(
    inbox: list[str], delivered: int, duplicates: int, out_of_order: int
) -> None:
    ann = cast("Contact", SimpleNamespace(inbox=inbox))
    ledger = Ledger(people={"Ann": ann}, accepted={"Ann": ACCEPTED})
    assert (ledger.delivered, ledger.duplicates, ledger.out_of_order) == (delivered, duplicates, out_of_order)

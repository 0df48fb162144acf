"""What is said to people."""

import pytest

from service.reconnect.status import Advice, State
from service.reconnect.words import ADVICES, STATES


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_headline(state: State) -> None:
    assert STATES[state].title


@pytest.mark.parametrize("advice", Advice)
def test_every_advice_is_a_sentence(advice: Advice) -> None:
    assert ADVICES[advice].endswith(".")


def test_only_connected_looks_good() -> None:
    assert [state for state, words in STATES.items() if words.tone == "good"] == [State.CONNECTED]

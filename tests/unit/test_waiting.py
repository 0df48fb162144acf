"""What takes long is said to be under way; what does not is not."""

import threading

from service.waiting import Waiting


def test_what_takes_long_says_so_ever_less_often() -> None:
    said: list[str] = []
    enough = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 3:
            enough.set()

    times = iter([0.0, 1.0, 3.0, 7.0, *[15.0] * 20])
    with Waiting("a mountain is being moved", first_s=0.001, say=say, monotonic=lambda: next(times)):
        assert enough.wait(20)

    assert said[:3] == [f"beacon: a mountain is being moved, {seconds} s so far" for seconds in (1, 3, 7)]


def test_how_far_it_is_is_said_when_that_is_known() -> None:
    said: list[str] = []
    enough = threading.Event()
    known = iter(["", "fetching it, 4.2 of 50.0 MB"])

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 2:
            enough.set()

    with Waiting(
        "it is brought",
        far=lambda: next(known, ""),
        first_s=0.001,
        say=say,
        monotonic=lambda: 0.0,
    ):
        assert enough.wait(20)
    assert said[:2] == [
        "beacon: it is brought, 0 s so far",
        "beacon: it is brought, 0 s so far: fetching it, 4.2 of 50.0 MB",
    ]


def test_what_is_done_at_once_says_nothing() -> None:
    said: list[str] = []
    with Waiting("a door is being opened", first_s=60.0, say=said.append):
        pass
    assert said == []

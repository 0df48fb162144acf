"""How far it is: told by who does a part to who began the whole."""

import asyncio

from service.backup import progress
from service.backup.progress import Doings, Step
from tests.clock import FakeClock


def test_nothing_is_being_done_at_first_and_nobody_need_listen() -> None:
    assert Doings(FakeClock()).now is None
    progress.at(Step.COPYING)


def test_the_steps_of_what_is_being_done_are_told_with_how_far_they_are() -> None:
    doings = Doings(FakeClock())
    changes: list[str] = []
    stop = doings.subscribe(lambda: changes.append("" if doings.now is None else doings.now.words))
    with doings.begin("checking a backup"):
        progress.at(Step.FETCHING, done_bytes=4_200_000, total_bytes=50_000_000)
        progress.at(Step.OPENING)
        assert doings.now is not None
        assert doings.now.what == "checking a backup"
    assert doings.now is None
    stop()
    with doings.begin("more"):
        pass
    assert changes == ["", "fetching it, 4.2 of 50.0 MB", "unsealing it", ""]


async def test_of_two_things_at_once_each_hears_its_own_steps() -> None:
    doings = Doings(FakeClock())
    seen = {}

    async def do(what: str, step: Step) -> None:
        with doings.begin(what):
            await asyncio.sleep(0)
            progress.at(step)
            await asyncio.sleep(0)
            seen[what] = {each.what: each.step for each in doings.all}

    await asyncio.gather(do("one", Step.COPYING), do("two", Step.FETCHING))
    assert seen["one"] == {"one": Step.COPYING, "two": Step.FETCHING}


async def test_of_two_things_at_once_what_began_last_is_shown_until_it_ends() -> None:
    doings = Doings(FakeClock())
    with doings.begin("first"):
        with doings.begin("second"):
            assert doings.now is not None
            assert doings.now.what == "second"
        assert doings.now is not None
        assert doings.now.what == "first"

"""The question whether a connection hears, from the real client to the server and back; a deaf line."""

import asyncio

import pytest

from service.engine.protocol import Disconnected, KeepAliveTimeout
from service.errors import EngineRefused
from service.simulator.accounts import Device
from service.simulator.noise import KeyPair
from service.simulator.server import Simulator
from service.simulator.stanza import JID, SERVER, Node
from tests.component.simulator.bare import Bare, client
from tests.component.simulator.person import Person
from tests.people import ANN

PING: dict[str, str | JID] = {"to": SERVER, "xmlns": "w:p", "type": "get"}
QUESTION: dict[str, str | JID] = {"to": SERVER, "xmlns": "blocklist", "type": "get"}


async def test_every_question_goes_to_the_server(simulator: Simulator, ann: Person) -> None:
    async with ann.online() as engine:
        for asked in range(1, 4):
            assert not (await engine.ask_server()).refused
            assert simulator.accounts[ANN].questions == asked


@pytest.mark.parametrize("code", [403, 429, 500])
async def test_a_refusal_is_an_answer(simulator: Simulator, ann: Person, code: int) -> None:
    async with ann.online() as engine:
        simulator.faults.refuse_queries(code, ANN)
        assert (await engine.ask_server()).refused


async def test_a_question_without_a_connection_has_no_answer(simulator: Simulator, ann: Person) -> None:
    async with ann.online() as engine:
        simulator.faults.refuse()
        simulator.faults.cut(ANN)
        await ann.has(Disconnected)
        with pytest.raises(EngineRefused, match="not connected"):
            await engine.ask_server()
        simulator.faults.heal()


async def test_questions_without_answers_hold_up_no_send(
    simulator: Simulator, ann: Person, ben: Person
) -> None:
    async with ann.online() as engine, ben.online():
        simulator.faults.swallow_queries(ANN, times=2)
        asking = [asyncio.create_task(engine.ask_server()) for _ in range(2)]
        await ann.until(lambda: simulator.accounts[ANN].questions == 2)
        for number in range(5):
            await ann.send(ben, str(number))
        assert not any(question.done() for question in asking)
        await engine.kill()
        await asyncio.gather(*asking, return_exceptions=True)


async def test_a_deaf_line_answers_pings_and_nothing_else(simulator: Simulator) -> None:
    keys = KeyPair()
    account = simulator.register(ANN)
    account.devices[1] = Device(account, 1, keys.public)
    async with client(simulator, phone=ANN, static=keys) as bare:
        assert (await bare.hear()).tag == "success"
        assert await answered(bare, QUESTION, "1")
        assert simulator.faults.deaf(ANN) == 1
        await bare.say(Node("iq", {**QUESTION, "id": "2"}))
        assert await answered(bare, PING, "3"), "the question before it stays without an answer"
        simulator.faults.heal()
        assert await answered(bare, QUESTION, "4")


async def test_what_is_sent_to_a_deaf_line_comes_with_the_next_login(
    simulator: Simulator, ann: Person, ben: Person
) -> None:
    async with ben.online():
        async with ann.online():
            await ben.send(ann, "before")
            await ann.until(lambda: ann.inbox == ["before"])
            simulator.faults.deaf(ANN)
            await ben.send(ann, "can you hear me")
            assert ann.inbox == ["before"]
            assert not ann.seen(KeepAliveTimeout)
        async with ann.online():
            await ann.until(lambda: ann.inbox == ["can you hear me"])


async def answered(bare: Bare, what: dict[str, str | JID], number: str) -> bool:
    """Is the next stanza the result for this query."""
    await bare.say(Node("iq", {**what, "id": number}))
    heard = await bare.hear()
    return (heard.tag, heard.get("type"), heard.get("id")) == ("iq", "result", number)

"""The real client is linked to a phone, by QR code and by pairing code."""

import pytest

from service.engine.protocol import Connected, Paired, QrCode
from service.errors import SimulatorError
from service.simulator.server import Simulator
from tests.component.simulator.person import Person
from tests.people import ANN, BEN


async def test_a_phone_scans_the_qr_code_and_the_client_comes_online(
    simulator: Simulator, ann: Person
) -> None:
    async with ann.process():
        shown = await ann.has(QrCode)
        assert simulator.pairing == 1
        await simulator.scan(shown.code, ANN)
        assert (await ann.has(Paired)).jid == f"{ANN}:1@s.whatsapp.net"
        assert (await ann.has(Connected)).jid == f"{ANN}:1@s.whatsapp.net"
        assert simulator.accounts[ANN].online
        assert simulator.pairing == 0
    await ann.until(lambda: not simulator.accounts[ANN].online)
    assert await ann.session.device_jid() == f"{ANN}:1@s.whatsapp.net"


async def test_a_paired_client_logs_in_without_a_phone(simulator: Simulator, ann: Person) -> None:
    async with ann.online():
        pass
    async with ann.process():
        await ann.has(Connected)
        assert ann.seen(QrCode) == []
        assert simulator.accounts[ANN].logins == 2


async def test_a_phone_is_given_the_pairing_code(simulator: Simulator, ann: Person, ben: Person) -> None:
    async with ann.process() as engine:
        await ann.has(QrCode)
        code = await engine.pair_phone(ANN)
        await simulator.enter_code(code, ANN)
        await ann.has(Connected)
        async with ben.online():
            await ben.send(ann, "can you read this")
            await ann.until(lambda: ann.inbox == ["can you read this"])


async def test_a_wrong_code_links_nothing(simulator: Simulator, ann: Person) -> None:
    async with ann.process() as engine:
        await ann.has(QrCode)
        code = await engine.pair_phone(ANN)
        wrong = ("A" if code[0] != "A" else "B") + code[1:]
        with pytest.raises(SimulatorError, match="the pairing code is wrong"):
            await simulator.enter_code(wrong, ANN)
        with pytest.raises(SimulatorError, match="no connected device has asked"):
            await simulator.enter_code(code, BEN)
        assert not simulator.accounts[ANN].devices


async def test_what_is_no_qr_code_links_nothing(simulator: Simulator, ann: Person) -> None:
    with pytest.raises(SimulatorError, match="no QR code of a new device"):
        await simulator.scan("https://example.org", ANN)
    async with ann.process():
        shown = await ann.has(QrCode)
        with pytest.raises(SimulatorError, match="shows this QR code"):
            await simulator.scan(shown.code.replace("2@", "2@x"), ANN)


async def test_two_devices_of_one_account_both_get_what_is_sent_to_it(
    simulator: Simulator, ann: Person, ben: Person, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Person(simulator, ANN, tmp_path_factory.mktemp("other"))
    async with ann.online(), other.online(), ben.online():
        assert set(simulator.accounts[ANN].devices) == {1, 2}
        await ben.send(ANN, "to both")
        await ann.until(lambda: ann.inbox == ["to both"])
        await other.until(lambda: other.inbox == ["to both"])
        await ann.send(BEN, "from one")
        await other.until(lambda: other.inbox == ["to both", "from one"])

"""What WhatsApp says when it sends a client away, and when it lets nobody in, arrives as one event each."""

import pytest

from service.engine.protocol import (
    AnyEvent,
    ClientOutdated,
    Connected,
    ConnectEnded,
    ConnectFailure,
    Heartbeat,
    Hello,
    LoggedOut,
    OfflineSynced,
    QrCode,
    Refusal,
    Refused,
    StreamError,
    StreamReplaced,
    TemporaryBan,
)
from tests.component.engine.world import Engine, World
from tests.people import ANN, BEN

pytestmark = pytest.mark.asyncio(loop_scope="module")


BANS = (101, 102, 103, 104, 106)  # those that neonize can say


async def first_news(engine: Engine) -> AnyEvent:
    """The first event that is neither a sign of life nor a start of pairing."""
    quiet = (Hello, Heartbeat, Connected, OfflineSynced, QrCode)
    return await engine.told(AnyEvent, lambda event: not isinstance(event, quiet))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ending", "event"),
    [
        ("generic", ConnectFailure(reason=400, text="")),
        ("bad_user_agent", ConnectFailure(reason=409, text="")),
        ("experimental", ConnectFailure(reason=501, text="")),
        ("outdated", ClientOutdated()),
        *((f"temporary_ban_{code}", TemporaryBan(code=code, expire_s=3600.0)) for code in BANS),
        ("logged_out", LoggedOut(on_connect=True, reason=401)),
        ("main_device_gone", LoggedOut(on_connect=True, reason=403)),
        ("banned", LoggedOut(on_connect=True, reason=406)),
    ],
)
async def test_a_login_that_is_refused(world: World, ending: str, event: AnyEvent) -> None:
    await world.leave(await world.online(ANN))
    world.simulator.faults.end_login(ending, ANN)
    engine = await world.started(ANN)
    await engine.connect()

    assert await first_news(engine) == event
    if isinstance(event, LoggedOut):
        await engine.forgotten()
    await world.leave(engine)


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("temporary_ban_105", "TemporaryBan.Code"),
        ("unmapped", "ConnectFailure.Reason"),
    ],
)
async def test_what_neonize_cannot_say_ends_its_connect_and_closes_the_socket(
    world: World, ending: str, words: str
) -> None:
    engine = await world.online(ANN)
    world.simulator.faults.end(ending, ANN)

    ended = await engine.told(ConnectEnded)
    assert words in ended.text
    await world.simulator.wait_for(lambda: not world.simulator.accounts[ANN].online)
    reply = await engine.send(f"{BEN}@s.whatsapp.net", "into the void")
    assert isinstance(reply, Refused)
    assert reply.refusal is Refusal.NOT_CONNECTED
    await world.leave(engine)


async def test_a_second_login_replaces_the_first(world: World) -> None:
    first = await world.online(ANN)
    second = await world.online(ANN)

    assert await first_news(first) == StreamReplaced()
    await world.leave(first)
    await world.leave(second)


async def test_a_device_that_the_phone_unlinks_is_logged_out_and_its_session_is_gone(world: World) -> None:
    engine = await world.online(ANN)
    world.simulator.faults.end("device_removed", ANN)

    assert await first_news(engine) == LoggedOut(on_connect=False, reason=401)
    await engine.forgotten()
    await world.leave(engine)


async def test_a_stream_error_without_a_rule_is_told(world: World) -> None:
    engine = await world.online(ANN)
    world.simulator.faults.end("other", ANN)

    assert await engine.told(StreamError) == StreamError(code="599")
    await world.leave(engine)


async def test_where_nobody_listens_the_connect_ends(world: World) -> None:
    await world.leave(await world.online(ANN))
    world.simulator.faults.refuse()
    engine = await world.started(ANN)
    await engine.connect()

    assert "connection refused" in (await engine.told(ConnectEnded)).text
    await world.leave(engine)
    world.simulator.faults.heal()


async def test_an_outdated_client_learns_it_while_pairing_too(world: World) -> None:
    world.simulator.faults.end_login("outdated", None)
    engine = await world.started(BEN)
    await engine.connect()

    assert await first_news(engine) == ClientOutdated()
    await world.leave(engine)
    world.simulator.faults.heal()

"""How a real engine ends: when told, when killed, when it hangs, when its parent is gone."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from service.engine.process import ExitCause
from service.engine.protocol import Connected, Disconnected, Refused, Sent
from service.errors import EngineGone, EngineRefused, EngineStartFailed
from tests.component.engine.conftest import REAL, ROOT, Spawn
from tests.component.engine.world import World
from tests.people import ANN, BEN

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARENT = """
import asyncio, os, sys
from prometheus_client import CollectorRegistry
from service.clock import SystemClock
from service.engine.metrics import EngineMetrics
from service.engine.process import EngineProcess

async def main():
    process = EngineProcess(
        entry=(sys.executable, "-m", "service.engine.child"), environment=os.environ,
        on_event=lambda event: None, metrics=EngineMetrics(CollectorRegistry(), "a"), clock=SystemClock())
    await process.start()
    print(process.pid, file=sys.stderr, flush=True)
    await process.wait()

asyncio.run(main())
"""


async def test_a_send_in_flight_ends_before_a_stop_and_one_behind_it_is_not_begun(world: World) -> None:
    ann = await world.online(ANN)
    chat = str(world.simulator.register(BEN).pn)
    await ann.sent(chat, "so that the next one is quick")
    world.simulator.faults.delay(3.0, ANN)
    first, second = (asyncio.create_task(ann.send(chat, text)) for text in ("in flight", "at hand"))
    sent = world.simulator.accounts[ANN].sent
    await world.simulator.wait_for(lambda: world.simulator.accounts[ANN].sent > sent)

    report = await ann.process.stop()
    assert (report.cause, report.returncode) == (ExitCause.STOPPED, 0)
    assert isinstance(await first, Sent)
    refused = await second
    assert isinstance(refused, Refused)
    assert refused.text == "the engine is stopping"
    assert world.simulator.accounts[ANN].sent == sent + 1
    world.simulator.faults.heal()


async def test_sigterm_to_the_engine_itself_is_a_stop(world: World) -> None:
    ann = await world.online(ANN)
    assert ann.process.pid is not None
    os.kill(ann.process.pid, signal.SIGTERM)

    report = await ann.process.wait()
    assert (report.cause, report.returncode) == (ExitCause.STOPPED, 0)


async def test_ctrl_c_does_not_end_the_engine(world: World) -> None:
    ann = await world.online(ANN)
    assert ann.process.pid is not None
    os.kill(ann.process.pid, signal.SIGINT)

    with pytest.raises(EngineRefused, match="PushName"):  # whatsmeow's own words: it is there and answers
        await ann.process.presence(available=True)
    await world.leave(ann)


async def test_killed_in_the_middle_of_a_send_its_message_id_is_found_by_the_secret(world: World) -> None:
    ann = await world.online(ANN)
    world.simulator.faults.swallow_acks(ANN)
    secret, sent = os.urandom(32), world.simulator.accounts[ANN].sent
    sending = asyncio.create_task(
        ann.send(str(world.simulator.register(BEN).pn), "did it arrive?", secret=secret)
    )
    await world.simulator.wait_for(lambda: world.simulator.accounts[ANN].sent > sent)
    assert ann.process.pid is not None
    os.kill(ann.process.pid, signal.SIGKILL)

    with pytest.raises(EngineGone, match="killed"):
        await sending
    report = await ann.process.wait()
    assert (report.cause, report.returncode) == (ExitCause.KILLED, -signal.SIGKILL)
    message_id = await ann.session.find_message_id(secret)
    assert message_id is not None
    assert message_id in world.simulator.accounts[ANN].sent_ids
    assert await ann.session.find_message_id(os.urandom(32)) is None
    world.simulator.faults.heal()


async def test_an_engine_that_hangs_is_noticed_and_killed_and_the_next_one_connects(world: World) -> None:
    ann = await world.online(ANN, heartbeat_timeout_s=5.0, kill_after_s=0.3)
    assert ann.process.pid is not None
    os.kill(ann.process.pid, signal.SIGSTOP)

    report = await ann.process.wait()
    assert (report.cause, report.returncode) == (ExitCause.HEARTBEAT_LOST, -signal.SIGKILL)
    assert ann.counted("exits_total", cause="heartbeat_lost") == 1
    again = await world.online(ANN)
    await world.leave(again)


async def test_a_link_that_comes_back_is_told_and_sends_go_on(world: World) -> None:
    ann = await world.online(ANN)
    seen = len(ann.events)
    world.simulator.faults.cut(ANN)
    await world.simulator.wait_for(
        lambda: len([e for e in ann.events[seen:] if isinstance(e, Connected)]) == 1
    )

    link = [type(event) for event in ann.events[seen:] if isinstance(event, Connected | Disconnected)]
    assert link == [Disconnected, Connected]
    assert isinstance(await ann.send(str(world.simulator.register(BEN).pn), "as before"), Sent)
    await world.leave(ann)


@pytest.mark.parametrize("stopped", [False, True], ids=["at work", "stopped by SIGSTOP"])
async def test_no_engine_outlives_a_parent_that_was_killed(stopped: bool) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        assert parent.stderr is not None
        engine = psutil.Process(int(await parent.stderr.readline()))
        if stopped:
            engine.suspend()
    finally:
        parent.kill()
        await parent.wait()

    gone, alive = await asyncio.to_thread(psutil.wait_procs, [engine], 20)
    assert (gone, alive) == ([engine], [])


async def test_neonize_without_a_library_is_told_and_nothing_is_downloaded(
    spawn: Spawn, tmp_path: Path
) -> None:
    (tmp_path / "neonize").mkdir()
    (tmp_path / "neonize" / "__init__.py").write_text("raise SystemExit('imported')")
    engine = spawn(REAL, {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})

    with pytest.raises(EngineStartFailed, match=r"exit code 69: .*has no library for this platform"):
        await engine.process.start()


async def test_neonize_that_cannot_be_imported_is_told(spawn: Spawn, tmp_path: Path) -> None:
    (tmp_path / "neonize").mkdir()
    (tmp_path / "neonize" / "neonize-linux-amd64.so").touch()
    (tmp_path / "neonize" / "__init__.py").write_text("raise OSError('wrong ELF class')")
    engine = spawn(REAL, {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})

    with pytest.raises(EngineStartFailed, match="exit code 69: OSError: wrong ELF class"):
        await engine.process.start()
    assert engine.counted("tracebacks_total", kind="python") == 1

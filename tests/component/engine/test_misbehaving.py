"""Whatever a child does, the parent finds out, ends it, says why, and keeps nothing of it."""

import asyncio
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from service.engine.content import File, Text, Video
from service.engine.process import ExitCause
from service.engine.protocol import Connected, Hello
from service.errors import EngineGone, EngineStartFailed, EngineTimeout
from tests.clock import FakeClock
from tests.component.engine.conftest import MISBEHAVING, Spawn
from tests.people import ANN


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def test_one_that_stays_silent_did_not_start(spawn: Spawn) -> None:
    engine = spawn((*MISBEHAVING, "silent"), start_timeout_s=0.5)

    with pytest.raises(EngineStartFailed, match=r"no first frame within 0\.5 s"):
        await engine.process.start()
    assert (await engine.process.wait()).cause is ExitCause.START_FAILED
    assert engine.counted("exits_total", cause="start_failed") == 1


async def test_one_that_exits_at_once_did_not_start_and_its_last_words_are_told(spawn: Spawn) -> None:
    engine = spawn((*MISBEHAVING, "exits"))

    with pytest.raises(EngineStartFailed, match="exit code 3: no library for #"):
        await engine.process.start()
    assert (await engine.process.stop()).returncode == 3


async def test_a_program_that_does_not_exist_did_not_start(spawn: Spawn) -> None:
    engine = spawn(("/nowhere/python",))

    with pytest.raises(EngineStartFailed, match="/nowhere/python"):
        await engine.process.start()
    assert (await engine.process.stop()).cause is ExitCause.START_FAILED


@pytest.mark.parametrize("way", ["other_version", "no_hello"])
async def test_one_that_does_not_greet_as_it_should_did_not_start(spawn: Spawn, way: str) -> None:
    engine = spawn((*MISBEHAVING, way))

    with pytest.raises(EngineStartFailed):
        await engine.process.start()
    assert engine.events == []


@pytest.mark.parametrize("way", ["garbage", "oversized", "unasked"])
async def test_one_that_sends_nonsense_is_ended(spawn: Spawn, way: str) -> None:
    engine = spawn((*MISBEHAVING, way))
    await engine.process.start()

    report = await engine.process.wait()
    assert (report.cause, report.returncode) == (ExitCause.BAD_FRAME, -signal.SIGTERM)
    assert engine.counted("exits_total", cause="bad_frame") == 1
    assert engine.counted("up") == 0


async def test_one_that_gives_the_wrong_kind_of_answer_is_ended(spawn: Spawn) -> None:
    engine = spawn((*MISBEHAVING, "misanswers"))
    await engine.process.start()

    with pytest.raises(EngineGone, match="Done does not answer"):
        await engine.process.send(
            token=1,
            chat="a@b",
            content=Text(text="hello"),
            file=None,
            secret=bytes(32),
            behind=None,
            traceparent=None,
        )
    assert (await engine.process.wait()).cause is ExitCause.BAD_FRAME


async def test_15_s_without_a_heartbeat_and_5_s_after_sigterm_it_is_killed(spawn: Spawn) -> None:
    clock = FakeClock()
    engine = spawn((*MISBEHAVING, "heartless"), clock=clock)
    await engine.process.start()

    ended = asyncio.create_task(engine.process.wait())
    for _ in range(15):
        await until(lambda: 1.0 in clock.sleeps)
        clock.advance(1)
    await until(lambda: 1.0 in clock.sleeps)
    assert engine.process.pid is not None
    assert psutil.pid_exists(engine.process.pid)
    clock.advance(1)

    await until(lambda: 5.0 in clock.sleeps)  # SIGTERM was sent, and is ignored
    assert not ended.done()
    clock.advance(5)
    report = await ended
    assert (report.cause, report.returncode) == (ExitCause.HEARTBEAT_LOST, -signal.SIGKILL)
    assert "no heartbeat for 16.0 s" in report.detail


async def test_a_parent_that_stood_still_does_not_blame_the_engine(spawn: Spawn) -> None:
    clock = FakeClock()
    engine = spawn((*MISBEHAVING, "speechless"), clock=clock)
    await engine.process.start()

    await until(lambda: 1.0 in clock.sleeps)
    clock.advance(3600)
    await until(lambda: 1.0 in clock.sleeps)
    seen = len(engine.events)
    await until(lambda: len(engine.events) > seen)
    clock.advance(1)
    await until(lambda: 1.0 in clock.sleeps)
    assert engine.counted("up") == 1


async def test_a_command_past_its_deadline_ends_the_engine_and_all_callers_are_told(spawn: Spawn) -> None:
    engine = spawn((*MISBEHAVING, "speechless"))
    await engine.process.start()

    late = asyncio.create_task(engine.process.pair_phone(ANN, deadline_s=0.2))
    other = asyncio.create_task(engine.process.logout())
    with pytest.raises(EngineTimeout, match=r"pair_phone was not answered within 0\.2 s"):
        await late
    with pytest.raises(EngineGone):
        await other
    assert (await engine.process.wait()).cause is ExitCause.COMMAND_OVERDUE
    with pytest.raises(EngineGone, match="not running"):
        await engine.process.logout()


async def test_a_send_with_a_file_has_the_time_that_its_upload_may_take(spawn: Spawn) -> None:
    clock = FakeClock()
    engine = spawn((*MISBEHAVING, "speechless"), clock=clock)
    await engine.process.start()
    film = File(sha256="0" * 64, media_type="video/mp4", size_bytes=4 << 20)
    sending = asyncio.create_task(
        engine.process.send(
            token=1,
            chat="a@b",
            content=Video(file=film),
            file=Path("/film"),
            secret=bytes(32),
            behind=None,
            traceparent=None,
        )
    )

    def told_more_than(seen: int) -> bool:
        return len(engine.events) > seen

    async def passes(seconds: int) -> None:
        for _ in range(0, seconds, 5):
            await until(lambda: 1.0 in clock.sleeps)
            await until(partial(told_more_than, len(engine.events)))
            clock.advance(5)

    await passes(150)  # 90 s, half a minute for the server, and 4 MB at 128 KB/s
    await until(lambda: 1.0 in clock.sleeps)
    assert not sending.done()
    await passes(5)
    with pytest.raises(EngineTimeout, match="send was not answered within 152 s"):
        await sending


async def test_one_that_hangs_up_and_stays_is_killed(spawn: Spawn) -> None:
    engine = spawn((*MISBEHAVING, "hangs_up"), kill_after_s=0.2)
    await engine.process.start()

    report = await engine.process.wait()
    assert (report.cause, report.returncode) == (ExitCause.CRASHED, -signal.SIGKILL)
    assert "closed its end" in report.detail


async def test_a_stop_ends_even_one_that_does_not_listen(spawn: Spawn) -> None:
    engine = spawn((*MISBEHAVING, "heartless"), kill_after_s=0.2)
    await engine.process.start()

    stopping = asyncio.create_task(engine.process.stop())
    await until(lambda: bool(engine.events))
    report = await engine.process.stop()  # the second one does not wait for an answer
    assert (report.cause, report.returncode) == (ExitCause.STOPPED, -signal.SIGKILL)
    assert await stopping == report


async def test_a_go_panic_is_kept_whole_counted_and_told_without_numbers(spawn: Spawn) -> None:
    engine = spawn((*MISBEHAVING, "panics"))
    with capture_logs() as logs:
        await engine.process.start()
        report = await engine.process.wait()

    assert engine.events == [engine.process.hello, Connected(jid="a")]
    assert report.cause is ExitCause.CRASHED
    assert report.detail == (
        "exit code 2: panic: runtime error: invalid memory address or nil pointer dereference"
    )
    (traceback,) = [line for line in logs if line["event"] == "engine.traceback"]
    assert traceback["text"].splitlines()[-1] == "main.SendMessage(#)"
    assert ANN not in str(logs)
    assert engine.counted("tracebacks_total", kind="go") == 1
    assert engine.counted("output_lines_total", stream="stderr") == 3


async def test_one_that_chatters_is_never_blocked_nor_fills_the_log(spawn: Spawn) -> None:
    engine = spawn((*MISBEHAVING, "chatters"))
    with capture_logs() as logs:
        await engine.process.start()
        await until(lambda: Connected(jid="a") in engine.events)
        await engine.process.kill()

    assert engine.counted("output_lines_total", stream="stderr") == 300_000
    written = len([line for line in logs if line["event"] == "engine.output"])
    suppressed = engine.counted("output_lines_suppressed_total")
    assert suppressed is not None
    assert suppressed + written == 300_001
    assert suppressed > 250_000
    assert sum(line["lines"] for line in logs if line["event"] == "engine.output_suppressed") == suppressed


async def test_a_listener_that_raises_is_counted_and_the_engine_lives(spawn: Spawn) -> None:
    engine = spawn((*MISBEHAVING, "speechless"))
    heard: list[object] = []

    def listener(event: object) -> None:
        heard.append(event)
        raise ValueError("a bug of ours")

    engine.process._on_event = listener
    with capture_logs() as logs:
        await engine.process.start()
        await until(lambda: len(heard) >= 3)

    assert isinstance(heard[0], Hello)
    assert {"engine.listener_failed"} <= {line["event"] for line in logs}
    assert engine.counted("up") == 1
    assert (engine.counted("listener_errors_total") or 0) >= 3


async def test_twenty_engines_leave_no_descriptor_and_no_process_behind(spawn: Spawn) -> None:
    ways = ["speechless", "panics", "garbage", "exits"]
    here = psutil.Process()

    async def one(way: str) -> None:
        engine = spawn((*MISBEHAVING, way))
        try:
            await engine.process.start()
        except EngineStartFailed:
            assert way == "exits"
        await engine.process.kill()

    await one("speechless")
    before = here.num_fds()
    for number in range(20):
        await one(ways[number % len(ways)])

    assert here.num_fds() == before
    assert here.children(recursive=True) == []


async def test_a_cancelled_start_leaves_nothing_behind(spawn: Spawn) -> None:
    engine = spawn((*MISBEHAVING, "silent"))
    starting = asyncio.create_task(engine.process.start())
    await until(lambda: engine.process.pid is not None)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert engine.process.pid is not None
    assert not psutil.pid_exists(engine.process.pid)


async def test_ctrl_c_in_the_terminal_does_not_reach_the_engine(spawn: Spawn) -> None:
    engine = spawn((*MISBEHAVING, "speechless"))
    await engine.process.start()

    assert engine.process.pid is not None
    assert os.getpgid(engine.process.pid) != os.getpgrp()

"""Every command gets its answer, or a reason why there is none."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from service.engine.commands import Commands
from service.engine.content import Text
from service.engine.metrics import CommandKind, EngineMetrics
from service.engine.protocol import Done, Logout, Refusal, Refused, Send, encode
from service.errors import EngineGone, EngineTimeout, FrameError
from tests.clock import FakeClock


class Desk:
    """Commands without an engine: what was written is kept, answers are given by hand."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.registry = CollectorRegistry()
        self.written: list[bytes] = []
        self._wrote = asyncio.Event()
        self.commands = Commands(
            write=self._write,
            metrics=EngineMetrics(self.registry, "test"),
            clock=self.clock,
        )

    def _write(self, data: bytes) -> None:
        self.written.append(data)
        self._wrote.set()

    async def wrote(self) -> None:
        """Return when something has been written since this was last asked."""
        async with asyncio.timeout(60):
            await self._wrote.wait()
        self._wrote.clear()

    async def logout(self) -> "asyncio.Task[object]":
        return await self._begun(
            self.commands.ask(CommandKind.LOGOUT, lambda i: Logout(id=i), deadline_s=30.0)
        )

    async def send(self, text: str = "hello") -> "asyncio.Task[object]":
        return await self._begun(
            self.commands.ask(
                CommandKind.SEND,
                lambda i: Send(id=i, token=i, chat="a@b", content=Text(text=text), secret=bytes(32)),
                deadline_s=90.0,
                traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
            )
        )

    async def _begun(self, asking: object) -> "asyncio.Task[object]":
        task = asyncio.ensure_future(asking)  # type: ignore[call-overload]
        await asyncio.sleep(0)
        return task  # type: ignore[no-any-return]

    def counted(self, command: str, result: str) -> float | None:
        return self.registry.get_sample_value(
            "whatsapp_engine_commands_total", {"account": "test", "command": command, "result": result}
        )


async def test_answers_find_their_commands_in_any_order() -> None:
    desk = Desk()
    first, second = await desk.logout(), await desk.logout()
    desk.commands.resolve(Done(id=2))
    desk.commands.resolve(Refused(id=1, refusal=Refusal.FAILED, text="no"))

    assert await first == Refused(id=1, refusal=Refusal.FAILED, text="no")
    assert await second == Done(id=2)
    assert (desk.counted("logout", "ok"), desk.counted("logout", "failed")) == (1, 1)


async def test_commands_given_in_one_turn_leave_in_one_write_in_their_order() -> None:
    desk = Desk()
    asked = [
        asyncio.create_task(desk.commands.ask(CommandKind.LOGOUT, lambda i: Logout(id=i), deadline_s=30.0))
        for _ in range(3)
    ]
    await desk.wrote()
    assert desk.written == [b"".join(encode(Logout(id=i)) for i in (1, 2, 3))]

    await desk.logout()
    await desk.wrote()
    assert desk.written[1:] == [encode(Logout(id=4))]
    for task in asked:
        task.cancel()


async def test_an_answer_that_nobody_waits_for_is_an_error() -> None:
    desk = Desk()
    with pytest.raises(FrameError, match="command 7"):
        desk.commands.resolve(Done(id=7))


async def test_an_answer_after_the_caller_went_away_is_taken() -> None:
    desk = Desk()
    task = await desk.logout()
    task.cancel()
    await asyncio.wait({task})
    desk.commands.resolve(Done(id=1))


async def test_a_command_past_its_deadline_is_told_to_its_caller_and_to_the_watch() -> None:
    desk = Desk()
    task = await desk.logout()
    desk.clock.advance(30)
    assert desk.commands.overdue() is None

    desk.clock.advance(1)
    assert desk.commands.overdue() == "logout was not answered within 30 s"
    with pytest.raises(EngineTimeout):
        await task
    assert desk.counted("logout", "timeout") == 1


async def test_a_send_is_not_late_because_the_one_before_it_took_long() -> None:
    desk = Desk()
    await desk.send()
    waiting = await desk.send()
    desk.clock.advance(75)
    desk.commands.resolve(Done(id=1))
    desk.clock.advance(75)
    assert desk.commands.overdue() is None

    desk.clock.advance(16)
    assert desk.commands.overdue() is not None
    with pytest.raises(EngineTimeout):
        await waiting


async def test_the_end_of_the_engine_answers_everyone() -> None:
    desk = Desk()
    tasks = [await desk.send(), await desk.logout()]
    desk.commands.abandon("it ended")

    for task in tasks:
        with pytest.raises(EngineGone, match="it ended"):
            await task
    assert (desk.counted("send", "gone"), desk.counted("logout", "gone")) == (1, 1)


async def test_a_text_too_long_for_a_frame_is_refused_and_nothing_is_written() -> None:
    desk = Desk()
    task = await desk.send("x" * (1 << 20))
    with pytest.raises(FrameError):
        await task
    assert desk.written == []

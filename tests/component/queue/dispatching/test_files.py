"""Messages with a file: the engine finds the bytes at a path for as long as it needs them, and no longer."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from service.engine.content import File, Image
from service.engine.protocol import Refusal
from service.errors import StoreUnavailable
from service.queue.files import OutgoingFiles
from service.queue.model import Message, NewMessage, State
from tests.component.queue.dispatching.harness import Queue
from tests.component.queue.support import keep, to, until
from tests.people import ANN, BEN

PICTURE = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(PICTURE).hexdigest()


def picture_to(phone: str, *, max_attempts: int = 10) -> NewMessage:
    file = File(sha256=SHA256, media_type="image/png", size_bytes=len(PICTURE))
    return NewMessage(chat=f"{phone}@s.whatsapp.net", content=Image(file=file), max_attempts=max_attempts)


async def post(queue: Queue, *messages: NewMessage, kept: bool = True) -> list[Message]:
    """Keep the messages, and the picture with them."""
    if kept:
        await queue.store.keep_file(PICTURE, now=queue.clock.now())
    return await keep(queue.store, *messages, now=queue.clock.now())


async def test_the_engine_reads_the_bytes_at_the_path_it_is_told(queue: Queue) -> None:
    queue.dispatcher.connected()
    (kept,) = await post(queue, picture_to(ANN))
    sending = await queue.engine.nth(1)
    assert sending.content == kept.content
    assert sending.file == queue.outgoing / SHA256
    assert sending.file.read_bytes() == PICTURE
    assert sending.file.stat().st_mode & 0o777 == 0o600
    assert queue.outgoing.stat().st_mode & 0o777 == 0o700

    queue.engine.acknowledge(sending)
    await queue.state(kept, State.SENT)
    await until(lambda: list(queue.outgoing.iterdir()) == [], "the file is removed")


async def test_a_file_that_two_messages_name_stays_until_both_are_done(queue: Queue) -> None:
    queue.dispatcher.connected()
    first, second = await post(queue, picture_to(ANN), picture_to(BEN))
    one, two = await queue.engine.nth(1), await queue.engine.nth(2)
    queue.engine.acknowledge(one)
    await queue.state(first, State.SENT)
    assert two.file is not None
    assert two.file.read_bytes() == PICTURE

    queue.engine.acknowledge(two)
    await queue.state(second, State.SENT)
    await until(lambda: list(queue.outgoing.iterdir()) == [], "the file is removed")


async def test_a_message_whose_bytes_are_gone_is_dead_and_says_so(queue: Queue) -> None:
    queue.dispatcher.connected()
    (kept,) = await post(queue, picture_to(ANN), kept=False)
    await queue.state(kept, State.DEAD)
    assert queue.engine.sends == []
    assert queue.value("attempts_total", result="permanent", reason="file_missing") == 1
    found = await queue.store.get(kept.id)
    assert found is not None
    assert found.last_error == f"the file {SHA256} is not kept"


async def test_a_text_behind_a_picture_does_not_overtake_it(queue: Queue) -> None:
    await post(queue, picture_to(ANN), to(ANN, "what you see above"))
    queue.dispatcher.connected()
    picture, text = await queue.engine.nth(1), await queue.engine.nth(2)
    assert (picture.text, text.text) == ("image", "what you see above")
    assert text.behind == picture.token


@pytest.mark.parametrize("trouble", ["folder", "store"])
async def test_a_file_that_cannot_be_put_there_now_burns_no_attempt_and_holds_back_its_chat(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    async def away(_: str) -> bytes | None:
        raise StoreUnavailable("database: gone")

    await until(queue.outgoing.exists, "the folder is there")
    if trouble == "folder":
        queue.outgoing.rmdir()
        queue.outgoing.write_text("in the way")
    else:
        monkeypatch.setattr(queue.dispatcher._files, "_read", away)
    queue.dispatcher.connected()
    await post(queue, picture_to(ANN, max_attempts=1), to(ANN, "behind"), to(BEN, "other"))
    assert (await queue.engine.nth(1)).text == "other"
    await queue.time_passes_until(
        lambda: queue.value("postponed_total", reason="file") >= 3, "it is tried three times"
    )
    assert queue.engine.texts == ["other"]

    monkeypatch.undo()
    if trouble == "folder":
        queue.outgoing.unlink()
    queue.engine.acknowledges = True
    await queue.time_passes_until(lambda: queue.store.counts()[State.SENT] == 2, "both are sent")
    assert queue.engine.texts == ["other", "image", "behind"]


async def test_after_a_refusal_the_file_is_put_there_anew(queue: Queue) -> None:
    queue.dispatcher.connected()
    await post(queue, picture_to(ANN))
    queue.engine.refuse(await queue.engine.nth(1), Refusal.NOT_CONNECTED)
    await queue.time_passes_until(lambda: len(queue.engine.sends) == 2, "it is sent again")
    file = queue.engine.sends[1].file
    assert file is not None
    assert file.read_bytes() == PICTURE


async def test_what_a_killed_process_left_in_the_folder_is_removed_at_start(build: Queue) -> None:
    build.outgoing.mkdir()
    (build.outgoing / SHA256).write_bytes(b"half")
    (build.outgoing / f"{SHA256}.new").write_bytes(b"a quarter")
    running = asyncio.create_task(build.dispatcher.run())
    await until(lambda: list(build.outgoing.iterdir()) == [], "the folder is empty")
    await build.dispatcher.stop()
    await running


async def test_a_folder_that_cannot_be_cleared_stops_no_texts(build: Queue) -> None:
    build.outgoing.write_text("in the way")
    build.engine.acknowledges = True
    build.dispatcher.connected()
    running = asyncio.create_task(build.dispatcher.run())
    (kept,) = await build.post(to(ANN))
    await build.state(kept, State.SENT)
    await build.dispatcher.stop()
    await running


async def test_a_file_written_by_halves_is_never_found_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(_: str) -> bytes | None:
        return PICTURE

    def full(self: Path, target: Path) -> Path:
        assert self.read_bytes() == PICTURE
        raise OSError(28, "No space left on device")

    files = OutgoingFiles(tmp_path / "outgoing", read=read)
    await files.clear()
    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space"):
        async with files.held(SHA256):
            raise AssertionError("it must not get here")
    assert list((tmp_path / "outgoing").iterdir()) == []

    monkeypatch.undo()
    async with files.held(SHA256) as path:
        assert path is not None
        assert path.read_bytes() == PICTURE

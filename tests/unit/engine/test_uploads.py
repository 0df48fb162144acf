"""A file is brought to WhatsApp before its message, or the message is not begun."""

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.engine.content import Audio, File, Media, Sticker, Video
from service.engine.uploads import GIVEN_UP, Uploads, upload_within_s
from service.errors import EngineRefused

DATA = b"a film, as far as anybody looks"


@dataclass
class Response:
    """What neonize answers, as far as it is looked at here."""

    FileSHA256: bytes


def content(data: bytes = DATA, kind: type[Video | Audio | Sticker] = Video) -> Media:
    sha256 = hashlib.sha256(data).hexdigest()
    return kind(file=File(sha256=sha256, media_type="video/mp4", size_bytes=len(data)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "film"
    path.write_bytes(DATA)
    return path


async def whatsapp(_: Media, data: bytes) -> Response:
    return Response(hashlib.sha256(data).digest())


async def never(_: Media, data: bytes) -> Response:
    await asyncio.Event().wait()
    raise AssertionError(data)


async def test_what_was_uploaded_is_answered(path: Path) -> None:
    uploaded = await Uploads(whatsapp).bring(content(), path)
    assert uploaded.response == Response(hashlib.sha256(DATA).digest())
    assert (uploaded.seconds, uploaded.animated) == (None, False)


async def test_64_mb_may_take_nine_minutes_and_a_line_half_a_minute() -> None:
    assert upload_within_s(64 << 20) == 30 + 512
    assert upload_within_s(100) == pytest.approx(30, abs=0.1)


async def test_a_refusal_is_told_in_whatsapps_words(path: Path) -> None:
    async def refuses(_: Media, data: bytes) -> Response:
        raise EngineRefused(f"upload failed with status code 413 for {len(data)} bytes")

    with pytest.raises(EngineRefused) as refused:
        await Uploads(refuses).bring(content(), path)
    assert refused.value.text == f"upload: upload failed with status code 413 for {len(DATA)} bytes"


async def test_an_upload_that_takes_too_long_is_given_up(path: Path) -> None:
    with pytest.raises(EngineRefused, match=r"^upload: not done within 0 s$"):
        await Uploads(never, within_s=lambda _: 0.0).bring(content(), path)


async def test_when_too_many_were_given_up_the_next_is_left_to_the_parents_deadline(path: Path) -> None:
    done = asyncio.Event()

    async def hangs(_: Media, data: bytes) -> Response:
        await done.wait()
        return Response(hashlib.sha256(data).digest())

    uploads = Uploads(hangs, within_s=lambda _: 0.0)
    for _ in range(GIVEN_UP):
        with pytest.raises(EngineRefused, match="not done"):
            await uploads.bring(content(), path)
    last = asyncio.create_task(uploads.bring(content(), path))
    assert not (await asyncio.wait({last}, timeout=0.05))[0]

    done.set()
    await last
    done.clear()
    with pytest.raises(EngineRefused, match="not done"):  # those given up have ended meanwhile
        await uploads.bring(content(), path)


async def test_one_that_was_given_up_and_then_failed_disturbs_nobody(path: Path) -> None:
    done = asyncio.Event()

    async def fails(_: Media, data: bytes) -> Response:
        await done.wait()
        raise EngineRefused(f"too late for {len(data)} bytes")

    uploads = Uploads(fails, within_s=lambda _: 0.0)
    with pytest.raises(EngineRefused, match="not done"):
        await uploads.bring(content(), path)
    done.set()
    with pytest.raises(EngineRefused, match="upload: "):
        await uploads.bring(content(), path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "file: No such file or directory"),
        (DATA[:-1], f"file: {len(DATA) - 1} bytes instead of {len(DATA)}"),
        (DATA[:-1] + b"K", "file: its bytes are not those that were kept"),
    ],
    ids=["gone", "cut off", "changed"],
)
async def test_bytes_that_are_not_the_kept_ones_are_not_sent(
    path: Path, data: bytes | None, words: str
) -> None:
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(EngineRefused) as refused:
        await Uploads(whatsapp).bring(content(), path)
    assert refused.value.text == words

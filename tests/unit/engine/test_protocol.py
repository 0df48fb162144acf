"""Frames survive the way there and back; nothing that a child may send hurts the parent."""

import asyncio
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from service.engine import protocol
from service.engine.content import AnyContent, File, Text
from service.engine.protocol import (
    MAX_FRAME_BYTES,
    AnyCommand,
    AnyEvent,
    AnyReply,
    Frame,
    Receipt,
    ReceiptKind,
    Send,
    encode,
    read_answer,
    read_command,
)
from service.errors import FrameError

NUMBERS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),  # which equals nothing, not even itself
}


def anything(kind: Any) -> st.SearchStrategy[Any]:
    """That kind of struct with any contents that msgpack can hold."""
    return st.builds(
        kind, **{field.name: NUMBERS[field.type] for field in fields(kind) if field.type in NUMBERS}
    )


def any_of(kinds: Any) -> st.SearchStrategy[Frame]:
    """Frames of these kinds."""
    return st.one_of(*map(anything, get_args(kinds)))


for inner in (File, *get_args(AnyContent)):
    st.register_type_strategy(inner, anything(inner))

COMMANDS = any_of(AnyCommand)
ANSWERS = any_of(AnyReply | AnyEvent)


def stream(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


def read_all(read: Any, data: bytes) -> list[Frame]:
    async def reading() -> list[Frame]:
        reader, frames = stream(data), []
        while (frame := await read(reader)) is not None:
            frames.append(frame)
        return frames

    return asyncio.run(reading())


@given(st.lists(COMMANDS, max_size=4))
def test_commands_arrive_as_they_were_given(commands: list[Frame]) -> None:
    assert read_all(read_command, b"".join(map(encode, commands))) == commands


@given(st.lists(ANSWERS, max_size=4))
def test_answers_arrive_as_they_were_given(answers: list[Frame]) -> None:
    assert read_all(read_answer, b"".join(map(encode, answers))) == answers


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_read_but_never_anything_else(garbage: bytes) -> None:
    for read in (read_answer, read_command):
        try:
            read_all(read, garbage)
        except FrameError:
            continue


@given(st.binary(min_size=1, max_size=200))
def test_a_frame_of_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(FrameError, match=f"frame of {len(garbage)} bytes does not decode"):
        read_all(read_answer, len(garbage).to_bytes(4, "big") + garbage)


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa4kind"], ids=["arrays", "maps"])
def test_a_frame_nested_beyond_reason_is_refused(opening: bytes) -> None:
    body = opening * 100_000
    with pytest.raises(FrameError):
        read_all(read_answer, len(body).to_bytes(4, "big") + body)


def test_an_oversized_frame_is_refused_before_it_is_read() -> None:
    with pytest.raises(FrameError, match=f"at most {MAX_FRAME_BYTES} are allowed"):
        read_all(read_answer, (MAX_FRAME_BYTES + 1).to_bytes(4, "big"))


def test_an_oversized_command_is_never_written() -> None:
    with pytest.raises(FrameError, match=f"at most {MAX_FRAME_BYTES} are allowed"):
        encode(Send(id=1, token=1, chat="a@b", content=Text(text="x" * MAX_FRAME_BYTES), secret=bytes(32)))


def test_text_that_no_encoding_knows_is_refused() -> None:
    with pytest.raises(FrameError, match="cannot be encoded"):
        encode(Send(id=1, token=1, chat="a@b", content=Text(text="half a \ud83d"), secret=bytes(32)))


@pytest.mark.parametrize("missing", [1, 3, 4, 10], ids=lambda n: f"{n} bytes short")
def test_the_end_in_the_middle_of_a_frame_is_an_error(missing: int) -> None:
    frame = encode(
        Receipt(("id",), receipt=ReceiptKind.READ, chat="c", sender="s", from_me=False, timestamp=1.0)
    )
    with pytest.raises(FrameError, match="in the middle"):
        read_all(read_answer, frame[:-missing])


def test_the_end_between_frames_is_the_end() -> None:
    assert read_all(read_answer, b"") == []


def test_a_command_is_no_answer() -> None:
    with pytest.raises(FrameError):
        read_all(read_answer, encode(protocol.Logout(id=1)))


def test_no_two_frames_share_a_tag() -> None:
    tags = [kind.__struct_config__.tag for kind in get_args(AnyCommand | AnyReply | AnyEvent)]
    assert len(tags) == len(set(tags))

"""What a file says of itself; and what it does not say is not invented."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.media import opus_seconds, webp_moves
from tests.component.engine.files import opus, picture


@pytest.mark.parametrize("seconds", [1, 7, 3600])
def test_opus_says_how_long_it_plays(seconds: int) -> None:
    assert opus_seconds(opus(seconds)) == seconds


def test_the_shortest_sound_is_a_second() -> None:
    assert opus_seconds(opus(0)) == 1


@pytest.mark.parametrize(
    "data", [b"", b"ID3" + bytes(500), b"OggS" + bytes(500), opus(7)[:40]], ids=["none", "mp3", "ogg", "cut"]
)
def test_what_is_no_opus_has_no_length(data: bytes) -> None:
    assert opus_seconds(data) is None


@pytest.mark.parametrize(("frames", "moves"), [(1, False), (2, True)])
def test_webp_says_whether_it_moves(frames: int, *, moves: bool) -> None:
    assert webp_moves(picture("WEBP", frames=frames)) is moves


@given(st.binary(max_size=200))
def test_no_bytes_can_disturb(data: bytes) -> None:
    for start in (b"", b"OggS", b"RIFF0000WEBPVP8X"):
        seconds = opus_seconds(start + data)
        assert seconds is None or seconds >= 1
        assert webp_moves(start + data) in {True, False}

"""What a message may say."""

import pytest

from service.errors import InvalidInput
from service.queue.content import MAX_TEXT_BYTES, parse_text


@pytest.mark.parametrize("text", ["x", " x ", "👩‍👩‍👧", "ä" * (MAX_TEXT_BYTES // 2), "a\nb\tc"])
def test_text_is_kept_as_it_is(text: str) -> None:
    assert parse_text(text, field="text") == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "at least one character"),
        (" \n\t\u2003", "at least one character"),
        ("a\0b", "NUL"),
        ("half \ud83d", "surrogate"),
        ("a" * (MAX_TEXT_BYTES + 1), f"{MAX_TEXT_BYTES + 1} bytes"),
        ("ä" * (MAX_TEXT_BYTES // 2) + "a", f"{MAX_TEXT_BYTES + 1} bytes"),
    ],
)
def test_what_cannot_be_sent_is_refused_without_quoting_it(text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as refused:
        parse_text(text, field="text")
    assert not text.strip() or text not in str(refused.value)

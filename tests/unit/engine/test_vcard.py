"""A card is one card, whatever somebody is called."""

import pytest

from service.engine.vcard import vcard


def test_a_card_has_a_name_and_a_number_that_opens_a_chat() -> None:
    assert vcard("Cleo", "15550000003").split("\n") == [
        "BEGIN:VCARD",
        "VERSION:3.0",
        "N:;Cleo;;;",
        "FN:Cleo",
        "TEL;type=CELL;type=VOICE;waid=15550000003:+15550000003",
        "END:VCARD",
    ]


@pytest.mark.parametrize(
    ("name", "written"),
    [("a;b", "a\\;b"), ("a,b", "a\\,b"), ("a\\b", "a\\\\b"), ("a\r\nTEL:1", "a\\nTEL:1")],
    ids=["semicolon", "comma", "backslash", "line"],
)
def test_a_name_cannot_become_another_field(name: str, written: str) -> None:
    lines = vcard(name, "15550000003").split("\n")
    assert len(lines) == 6
    assert lines[3] == f"FN:{written}"

"""Whom a message may be for."""

import pytest

from service.errors import InvalidInput
from service.queue.address import is_group, parse_chat
from tests.people import ANN


@pytest.mark.parametrize(
    "written",
    [
        ANN,
        f"+{ANN}",
        f"+{ANN[0]} ({ANN[1:4]}) {ANN[4:7]}-{ANN[7:]}",
        f" {ANN[0]}.{ANN[1:4]}.{ANN[4:7]}.{ANN[7:]} ",
        f"{ANN}@s.whatsapp.net",
    ],
)
def test_a_phone_number_in_any_usual_form_is_the_same_chat(written: str) -> None:
    assert parse_chat(written, field="to") == f"{ANN}@s.whatsapp.net"


@pytest.mark.parametrize(
    "jid", ["123456789012345@lid", "120363012345678901@g.us", "4915112345678-1400000000@g.us"]
)
def test_lids_and_groups_stay_as_they_are(jid: str) -> None:
    assert parse_chat(jid, field="to") == jid
    assert is_group(jid) == jid.endswith("@g.us")


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("hello", "digits"),
        ("12", "exist|few"),
        ("12345", "few"),
        ("12025550101" * 2, "many"),
        ("9" * 200, "at most 64"),
        ("0301234567", "country code, not with 0"),
        ("999999999999", "country code that exists"),
        ("١٢٣٤٥٦٧٨٩٠", "digits"),
        ("+1 202 555 0101 ext 5", "digits"),
        ("12025550101@c.us", "s.whatsapp.net, lid or g.us"),
        ("12025550101@S.WHATSAPP.NET", "s.whatsapp.net, lid or g.us"),
        ("12025550101:12@s.whatsapp.net", "device"),
        ("ann@s.whatsapp.net", "digits"),
        ("12345@s.whatsapp.net", "few"),
        ("@lid", "5 to 20 digits"),
        ("status@broadcast", "s.whatsapp.net, lid or g.us"),
        ("12025550101@lid@lid", "s.whatsapp.net, lid or g.us"),
        ("abc@g.us", "5 to 20 digits"),
        ("1202555\n0101@g.us", "5 to 20 digits"),
    ],
)
def test_anything_else_is_refused_with_what_is_wrong(written: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as refused:
        parse_chat(written, field="messages[3].to")
    assert refused.value.field == "messages[3].to"


@pytest.mark.parametrize(
    "written", ["120255501011202555", "12025550101:1@s.whatsapp.net", "12025550101@example.org"]
)
def test_a_refusal_does_not_quote_the_number(written: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_chat(written, field="to")
    assert "12025550101" not in str(refused.value)

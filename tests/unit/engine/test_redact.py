"""Nobody's number, name or words stay in what neonize and whatsmeow write; codes do."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.redact import redact
from tests.people import ANN


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (f"no LID found for {ANN}@s.whatsapp.net", "no LID found for #@s.whatsapp.net"),
        (f"Failed to decrypt from {ANN}:12@lid", "Failed to decrypt from #:12@lid"),
        ("server returned error 463", "server returned error 463"),
        ("status 429: rate-overlimit", "status 429: rate-overlimit"),
        ("dial http://ann:secret@10.0.0.1:3128: refused", "dial http://#@10.0.0.1:3128: refused"),
        (
            f'took 5s for <message from="{ANN}@lid" notify="Ann" type="text"><body>hi</body></message>',
            'took 5s for <message type="text" …>',
        ),
        ('Unknown: <stream:error code="516"/>', 'Unknown: <stream:error code="516" …>'),
        ("Got <body>see you at eight</body> from a group", "Got <body …>"),
        (
            'Post "https://mmg.whatsapp.net/mms/image/aGFzaA==?auth=secret&token=aGFzaA": EOF',
            'Post "https://mmg.whatsapp.net/mms/image/aGFzaA==?#": EOF',
        ),
        (
            'parse "postgres://ann:secret@db:5432/d?sslmode=require&search_path=x": invalid port',
            'parse "postgres://#@db:5432/d?#": invalid port',
        ),
        (r"user='ann' password='se\'c ret' host=db", "user=# password=# host=db"),
        ("password = secret port=5432", "password=# port=5432"),
        (
            'pq: password authentication failed for user "ann"',
            "pq: password authentication failed for user #",
        ),
        ("where? here: http://ann.example/", "where? here: http://ann.example/"),
        ("in <module>", "in <module>"),
        ("panic: invalid memory address", "panic: invalid memory address"),
    ],
)
def test_what_names_somebody_goes_and_what_explains_stays(written: str, kept: str) -> None:
    assert redact(written) == kept


@given(st.text(), st.from_regex(r"[0-9]{7,20}", fullmatch=True), st.text())
def test_no_long_number_survives(before: str, number: str, after: str) -> None:
    assert not re.search(r"\d{7,}", redact(before + number + after))


@given(st.text())
def test_twice_is_as_once(text: str) -> None:
    assert redact(redact(text)) == redact(text)
